# Displacement, transmission and dark field of a block of projections: the unit of work, of restart and of a job.
rule retrieve:
    input:
        truth=truth,
        manifest=ancient(rules.inspect.output.manifest),
        corrected=rules.correct.output.corrected,
    output:
        fields=f"{RESULTS}/{{scan}}/fields/block_{{block}}.h5",
    log:
        f"{LOGS}/retrieve/{{block}}.log",
    benchmark:
        f"{LOGS}/retrieve/{{block}}.tsv"
    conda:
        "../../envs/retrieve.yaml"
    threads: threads_of("retrieval")
    resources:
        mem_mb=memory("retrieve"),
        runtime=runtime("retrieve"),
        gpu=gpus("retrieval"),
        gres=gres("retrieval"),
    params:
        **settings("retrieve"),
        raw=raw_digest,
        weights=weights_digest,
        projections=lambda wildcards: plan(wildcards.scan).blocks[int(wildcards.block)],
    script:
        "../../scripts/retrieve.py"
