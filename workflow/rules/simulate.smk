# Raw files of a simulated beamtime. The truth is written last: where it exists, the frames are complete.
rule simulate:
    output:
        truth="raw/{scan}/truth.h5",
    log:
        "logs/{scan}/simulate.log",
    benchmark:
        "logs/{scan}/simulate.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 1  # a sum split over threads rounds differently: the files would depend on the machine
    resources:
        mem_mb=memory("simulate"),
        runtime=runtime("simulate"),
    params:
        settings=settings("simulate", "files"),
    script:
        "../../scripts/simulate.py"
