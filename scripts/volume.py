"""The slabs of a scan as one file of volumes in physical units."""

from speckleflow.workflow.job import job

with job(snakemake):
    from speckleflow.stages.volume import assemble_volumes

    assemble_volumes(list(snakemake.input.slabs), snakemake.output.volumes)
