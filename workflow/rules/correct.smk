# Dark, flat, bad pixels and the corrected reference stack, once a scan.
rule correct:
    input:
        truth=truth,
        manifest=ancient(rules.inspect.output.manifest),
    output:
        corrected=f"{RESULTS}/{{scan}}/corrected.h5",
    log:
        f"{LOGS}/correct.log",
    retries: 0  # what is wrong with the data stays wrong
    conda:
        "../../envs/correct.yaml"
    resources:
        mem_mb=memory("correct"),
        runtime=runtime("correct"),
    params:
        **settings("correct"),
        raw=raw_digest,
    script:
        "../../scripts/correct.py"
