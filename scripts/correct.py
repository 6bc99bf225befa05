"""Dark, flat, bad pixels and the corrected reference stack of a scan."""

from speckleflow.workflow.job import job

with job(snakemake) as spec:
    from speckleflow.stages.correct import correct

    correct(spec, manifest=snakemake.input.manifest, output=snakemake.output.corrected)
