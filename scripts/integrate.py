"""The phase of a block of projections."""

from speckleflow.workflow.job import job

with job(snakemake) as spec:
    from speckleflow.stages.integrate import integrate_block

    integrate_block(
        spec,
        manifest=snakemake.input.manifest,
        fields=snakemake.input.fields,
        output=snakemake.output.phase,
    )
