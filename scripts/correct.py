"""Dark, flat, bad pixels and the corrected reference stack of a scan."""

from speckleflow.pipeline.job import job

with job(snakemake) as settings:
    from speckleflow.pipeline.correct import correct

    correct(settings, snakemake.wildcards.scan, snakemake.output.corrected)
