# All blocks of a scan under one virtual dataset a contrast, and the rotation axis.
rule assemble:
    input:
        fields=field_blocks,
        phases=phase_blocks,
    output:
        projections=f"{RESULTS}/{{scan}}/projections.h5",
    log:
        "logs/{scan}/assemble.log",
    conda:
        "../../envs/assemble.yaml"
    resources:
        mem_mb=memory("assemble"),
        runtime=runtime("assemble"),
    params:
        settings=settings("tomography"),
        tomographic=lambda wildcards: plan(wildcards.scan).tomographic,
    script:
        "../../scripts/assemble.py"
