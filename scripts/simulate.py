"""Make the raw files of a simulated beamtime, the truth last."""

from speckleflow.workflow.job import job

with job(snakemake) as spec:
    from speckleflow.stages.simulate import simulate

    simulate(spec, truth=snakemake.output.truth, threads=snakemake.threads)
