"""The HTML report of a scan, its pictures, and the errors against the truth where there is one."""

from speckleflow.pipeline.job import job

with job(snakemake) as settings:
    from speckleflow.pipeline.report import report_scan

    report_scan(
        settings,
        snakemake.wildcards.scan,
        inputs=snakemake.input,
        timings=snakemake.params.timings,
        html=snakemake.output.html,
        summary=snakemake.output.summary,
        pictures=snakemake.output.pictures,
    )
