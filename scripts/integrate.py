"""The phase of a block of projections."""

from speckleflow.workflow.job import job

with job(snakemake) as settings:
    from speckleflow.stages.integrate import integrate_block

    integrate_block(settings, fields=snakemake.input.fields, output=snakemake.output.phase)
