"""Dark, flat, bad pixels and the corrected reference stack of a scan."""

from speckleflow.workflow.job import job

with job(snakemake) as settings:
    from speckleflow.stages.correct import correct

    correct(settings, snakemake.wildcards.scan, snakemake.output.corrected)
