"""Open and check the raw data of a scan; write the manifest."""

from speckleflow.workflow.job import job

with job(snakemake) as spec:
    from speckleflow.stages.inspect import inspect

    inspect(spec, output=snakemake.output.manifest)
