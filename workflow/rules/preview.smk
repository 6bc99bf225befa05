# One projection through all contrasts, as a picture: a look before the long run.
rule preview:
    input:
        truth=truth,
        manifest=ancient(rules.inspect.output.manifest),
        corrected=rules.correct.output.corrected,
    output:
        picture=f"{RESULTS}/{{scan}}/preview.png",
    log:
        f"{LOGS}/preview.log",
    conda:
        "../../envs/preview.yaml"
    threads: threads_of("retrieval")
    resources:
        mem_mb=memory("retrieve"),
        runtime=runtime("retrieve"),
        gpu=gpus("retrieval"),
        gres=gres("retrieval"),
    params:
        **settings("preview"),
        raw=raw_digest,
        weights=weights_digest,
    script:
        "../../scripts/preview.py"
