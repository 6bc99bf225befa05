"""Open and check the raw data of a scan; write what was found."""

from speckleflow.workflow.job import job

with job(snakemake) as settings:
    from speckleflow.stages.inspect import inspect

    inspect(settings, snakemake.wildcards.scan, snakemake.output.manifest)
