# A slab of rows, every contrast.
rule reconstruct:
    input:
        projections=rules.assemble.output.projections,
        blocks=block_files,
    output:
        slab=temp(f"{RESULTS}/{{scan}}/slabs/slab_{{slab}}.h5"),
    log:
        "logs/{scan}/reconstruct/{slab}.log",
    benchmark:
        "logs/{scan}/reconstruct/{slab}.tsv"
    conda:
        "../../envs/reconstruct.yaml"
    threads: lambda wildcards: SCANS[wildcards.scan].tomography.threads
    resources:
        mem_mb=memory("reconstruct"),
        runtime=runtime("reconstruct"),
        gpu=gpus("tomography"),
        gres=gres("tomography"),
        device=lambda wildcards: SCANS[wildcards.scan].tomography.device,
    params:
        settings=settings("tomography"),
        rows=lambda wildcards: plan(wildcards.scan).slabs[int(wildcards.slab)],
    script:
        "../../scripts/reconstruct.py"
