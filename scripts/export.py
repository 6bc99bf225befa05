"""The volumes of a scan in a format of other programs."""

from speckleflow.workflow.job import job

with job(snakemake) as spec:
    from speckleflow.stages.export import export_scan

    export_scan(
        spec,
        volumes=snakemake.input.volumes,
        format=snakemake.wildcards.format,
        output=snakemake.output.folder,
    )
