# A slab of rows, every contrast.
rule reconstruct:
    input:
        projections=rules.assemble.output.projections,
        blocks=block_files,
    output:
        slab=temp(f"{RESULTS}/{{scan}}/slabs/slab_{{slab}}.h5"),
    log:
        f"{LOGS}/reconstruct/{{slab}}.log",
    benchmark:
        f"{LOGS}/reconstruct/{{slab}}.tsv"
    conda:
        "../../envs/reconstruct.yaml"
    threads: threads_of("tomography")
    resources:
        mem_mb=memory("reconstruct"),
        runtime=runtime("reconstruct"),
        gpu=gpus("tomography"),
        gres=gres("tomography"),
    params:
        **settings("reconstruct"),
        rows=lambda wildcards: plan(wildcards.scan).slabs[int(wildcards.slab)],
    script:
        "../../scripts/reconstruct.py"
