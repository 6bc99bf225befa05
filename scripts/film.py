"""An animated picture of every contrast of a time series."""

from speckleflow.workflow.job import job

with job(snakemake):
    from speckleflow.report.film import write_films

    write_films(snakemake.input.projections, snakemake.output.folder)
