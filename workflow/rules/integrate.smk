# The phase of a block.
rule integrate:
    input:
        manifest=ancient(rules.inspect.output.manifest),
        fields=rules.retrieve.output.fields,
    output:
        phase=f"{RESULTS}/{{scan}}/phase/block_{{block}}.h5",
    log:
        f"{LOGS}/integrate/{{block}}.log",
    benchmark:
        f"{LOGS}/integrate/{{block}}.tsv"
    conda:
        "../../envs/integrate.yaml"
    resources:
        mem_mb=memory("integrate"),
        runtime=runtime("integrate"),
    params:
        **settings("integrate"),
    script:
        "../../scripts/integrate.py"
