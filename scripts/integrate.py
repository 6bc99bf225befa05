"""The phase of a block of projections."""

from speckleflow.pipeline.job import job

with job(snakemake) as settings:
    from speckleflow.pipeline.integrate import integrate_block

    integrate_block(settings, fields=snakemake.input.fields, output=snakemake.output.phase)
