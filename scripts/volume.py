"""The slabs of a scan as one file of volumes in physical units."""

from speckleflow.pipeline.job import job

with job(snakemake):
    from speckleflow.pipeline.volume import assemble_volumes

    assemble_volumes(list(snakemake.input.slabs), snakemake.output.volumes)
