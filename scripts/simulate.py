"""Make the raw files of a simulated beamtime, the truth last."""

from speckleflow.workflow.job import job

with job(snakemake) as settings:
    from speckleflow.stages.simulate import simulate

    simulate(settings, snakemake.wildcards.scan, snakemake.output.truth)
