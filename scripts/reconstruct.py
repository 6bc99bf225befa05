"""A slab of rows of every contrast."""

from speckleflow.pipeline.job import job

with job(snakemake) as settings:
    from speckleflow.pipeline.reconstruct import reconstruct_slab

    reconstruct_slab(
        settings,
        projections=snakemake.input.projections,
        rows=snakemake.params.rows,
        output=snakemake.output.slab,
        device=snakemake.resources.device,
        threads=snakemake.threads,
    )
