"""The HTML report of a scan, a picture, and the errors against the truth where there is one."""

from speckleflow.workflow.job import job

with job(snakemake) as spec:
    from speckleflow.stages.report import report_scan

    report_scan(
        spec,
        manifest=snakemake.input.manifest,
        corrected=snakemake.input.corrected,
        projections=snakemake.input.projections,
        volumes=next(iter(snakemake.input.volumes), None),
        truth=next(iter(snakemake.input.truth), None),
        timings=snakemake.params.timings,
        html=snakemake.output.html,
        summary=snakemake.output.summary,
        picture=snakemake.output.picture,
    )
