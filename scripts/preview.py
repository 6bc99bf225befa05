"""One projection through all contrasts, as a picture."""

from speckleflow.workflow.job import job

with job(snakemake) as settings:
    from speckleflow.stages.preview import preview

    preview(
        settings,
        snakemake.wildcards.scan,
        corrected=snakemake.input.corrected,
        picture=snakemake.output.picture,
        device=snakemake.resources.device,
        threads=snakemake.threads,
    )
