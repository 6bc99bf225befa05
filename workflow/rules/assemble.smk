# All blocks of a scan under one virtual dataset a contrast, and the rotation axis.
rule assemble:
    input:
        manifest=ancient(rules.inspect.output.manifest),
        fields=field_blocks,
        phases=phase_blocks,
    output:
        projections=f"{RESULTS}/{{scan}}/projections.h5",
    log:
        f"{LOGS}/assemble.log",
    conda:
        "../../envs/assemble.yaml"
    resources:
        mem_mb=memory("assemble"),
        runtime=runtime("assemble"),
    params:
        **settings("assemble"),
        tomographic=lambda wildcards: plan(wildcards.scan).tomographic,
    script:
        "../../scripts/assemble.py"
