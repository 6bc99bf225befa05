"""Displacement, transmission and dark field of a block of projections."""

from speckleflow.workflow.job import job

with job(snakemake) as settings:
    from speckleflow.stages.retrieve import retrieve_block

    retrieve_block(
        settings,
        snakemake.wildcards.scan,
        corrected=snakemake.input.corrected,
        projections=snakemake.params.projections,
        output=snakemake.output.fields,
        device=snakemake.resources.device,
        threads=snakemake.threads,
    )
