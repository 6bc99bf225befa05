"""A slab of rows of every contrast."""

from speckleflow.workflow.job import job

with job(snakemake) as spec:
    from speckleflow.stages.reconstruct import reconstruct_slab

    reconstruct_slab(
        spec,
        projections=snakemake.input.projections,
        rows=snakemake.params.rows,
        output=snakemake.output.slab,
    )
