# Open and check everything before hours of work are spent; raw data are never written.
rule inspect:
    input:
        raw=raw_data,
    output:
        manifest=f"{RESULTS}/{{scan}}/manifest.json",
    log:
        f"{LOGS}/inspect.log",
    retries: 0  # what is wrong with the data stays wrong
    conda:
        "../../envs/inspect.yaml"
    resources:
        mem_mb=memory("inspect"),
        runtime=runtime("inspect"),
    params:
        **settings("inspect"),
        raw=raw_digest,
    script:
        "../../scripts/inspect.py"
