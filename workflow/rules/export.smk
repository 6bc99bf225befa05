# The volumes in a format of other programs (configuration key output), one folder a format.
rule export:
    input:
        volumes=rules.volume.output.volumes,
    output:
        folder=directory(f"{RESULTS}/{{scan}}/{{format}}"),
    log:
        f"{LOGS}/export/{{format}}.log",
    benchmark:
        f"{LOGS}/export/{{format}}.tsv"
    conda:
        "../../envs/export.yaml"
    resources:
        mem_mb=memory("export"),
        runtime=runtime("export"),
    params:
        **settings("export"),
    script:
        "../../scripts/export.py"
