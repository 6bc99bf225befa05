# The phase of a block.
rule integrate:
    input:
        fields=rules.retrieve.output.fields,
    output:
        phase=f"{RESULTS}/{{scan}}/phase/block_{{block}}.h5",
    log:
        "logs/{scan}/integrate/{block}.log",
    benchmark:
        "logs/{scan}/integrate/{block}.tsv"
    conda:
        "../../envs/integrate.yaml"
    resources:
        mem_mb=memory("integrate"),
        runtime=runtime("integrate"),
    params:
        settings=settings("correct", "integrate"),
    script:
        "../../scripts/integrate.py"
