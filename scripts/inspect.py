"""Open and check the raw data of a scan; write what was found."""

from speckleflow.pipeline.job import job

with job(snakemake) as settings:
    from speckleflow.pipeline.inspect import inspect

    inspect(settings, snakemake.wildcards.scan, snakemake.output.manifest)
