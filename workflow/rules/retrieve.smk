# Displacement, transmission and dark field of a block of projections: the unit of work, of restart and of a job.
rule retrieve:
    input:
        manifest=rules.inspect.output.manifest,
        corrected=rules.correct.output.corrected,
    output:
        fields=f"{RESULTS}/{{scan}}/fields/block_{{block}}.h5",
    log:
        "logs/{scan}/retrieve/{block}.log",
    benchmark:
        "logs/{scan}/retrieve/{block}.tsv"
    conda:
        "../../envs/retrieve.yaml"
    threads: lambda wildcards: SCANS[wildcards.scan].retrieval.threads
    resources:
        mem_mb=memory("retrieve"),
        runtime=runtime("retrieve"),
        gpu=gpus("retrieval"),
        gres=gres("retrieval"),
        device=lambda wildcards: SCANS[wildcards.scan].retrieval.device,
    params:
        settings=settings("files", "geometry", "correct", "retrieval"),
        weights=weights_digest,
        projections=lambda wildcards: plan(wildcards.scan).blocks[int(wildcards.block)],
    script:
        "../../scripts/retrieve.py"


rule preview:
    input:
        manifest=rules.inspect.output.manifest,
        corrected=rules.correct.output.corrected,
    output:
        picture=f"{RESULTS}/{{scan}}/preview.png",
    log:
        "logs/{scan}/preview.log",
    conda:
        "../../envs/preview.yaml"
    threads: lambda wildcards: SCANS[wildcards.scan].retrieval.threads
    resources:
        mem_mb=memory("retrieve"),
        runtime=runtime("retrieve"),
        gpu=gpus("retrieval"),
        gres=gres("retrieval"),
        device=lambda wildcards: SCANS[wildcards.scan].retrieval.device,
    params:
        settings=settings("files", "geometry", "correct", "retrieval", "integrate"),
        weights=weights_digest,
    script:
        "../../scripts/preview.py"
