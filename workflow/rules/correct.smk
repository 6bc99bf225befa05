# Dark, flat, bad pixels and the corrected reference stack, once a scan.
rule correct:
    input:
        manifest=rules.inspect.output.manifest,
    output:
        corrected=f"{RESULTS}/{{scan}}/corrected.h5",
    log:
        "logs/{scan}/correct.log",
    retries: 0  # what is wrong with the data stays wrong
    conda:
        "../../envs/correct.yaml"
    resources:
        mem_mb=memory("correct"),
        runtime=runtime("correct"),
    params:
        settings=settings("files", "geometry", "correct"),
    script:
        "../../scripts/correct.py"
