"""Displacement, transmission and dark field of a block of projections."""

from speckleflow.workflow.job import job

with job(snakemake) as spec:
    from speckleflow.stages.retrieve import retrieve_block

    retrieve_block(
        spec,
        manifest=snakemake.input.manifest,
        corrected=snakemake.input.corrected,
        projections=snakemake.params.projections,
        output=snakemake.output.fields,
    )
