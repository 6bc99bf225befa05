"""The slabs of a scan as one file of volumes in physical units."""

from speckleflow.workflow.job import job

with job(snakemake) as spec:
    from speckleflow.stages.volume import assemble_volumes

    assemble_volumes(spec, slabs=list(snakemake.input.slabs), output=snakemake.output.volumes)
