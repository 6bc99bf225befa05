"""One projection through all contrasts, as a picture."""

from speckleflow.workflow.job import job

with job(snakemake) as spec:
    from speckleflow.stages.preview import preview

    preview(
        spec,
        manifest=snakemake.input.manifest,
        corrected=snakemake.input.corrected,
        picture=snakemake.output.picture,
    )
