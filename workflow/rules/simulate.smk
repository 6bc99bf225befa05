# Raw files of a simulated beamtime. The truth is written last: where it exists, the frames are complete.
rule simulate:
    output:
        truth="raw/{scan}/truth.h5",
    log:
        f"{LOGS}/simulate.log",
    benchmark:
        f"{LOGS}/simulate.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 2  # projections made at a time, each by one thread: the files do not depend on it
    resources:
        mem_mb=memory("simulate"),
        runtime=runtime("simulate"),
    params:
        **settings("simulate"),
    script:
        "../../scripts/simulate.py"
