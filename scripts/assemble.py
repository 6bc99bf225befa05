"""All blocks of a scan under one virtual dataset a contrast, and the rotation axis."""

from speckleflow.workflow.job import job

with job(snakemake) as spec:
    from speckleflow.stages.assemble import assemble_projections

    assemble_projections(
        spec,
        manifest=snakemake.input.manifest,
        fields=list(snakemake.input.fields),
        phases=list(snakemake.input.phases),
        output=snakemake.output.projections,
        tomographic=snakemake.params.tomographic,
    )
