"""A slab of rows of every contrast."""

from speckleflow.workflow.job import job

with job(snakemake) as settings:
    from speckleflow.stages.reconstruct import reconstruct_slab

    reconstruct_slab(
        settings,
        projections=snakemake.input.projections,
        rows=snakemake.params.rows,
        output=snakemake.output.slab,
        device=snakemake.resources.device,
        threads=snakemake.threads,
    )
