# The HTML that a person opens, and the errors against the truth where there is one.
rule report:
    input:
        manifest=ancient(rules.inspect.output.manifest),
        corrected=rules.correct.output.corrected,
        projections=rules.assemble.output.projections,
        blocks=block_files,
        volumes=volume_file,
        truth=truth,
    output:
        html=f"{RESULTS}/{{scan}}/report.html",
        summary=f"{RESULTS}/{{scan}}/summary.json",
        picture=f"{RESULTS}/{{scan}}/contrasts.png",
    log:
        f"{LOGS}/report.log",
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=memory("report"),
        runtime=runtime("report"),
    params:
        **settings("report"),
        timings=lambda wildcards: LOGS.format(scan=wildcards.scan),
    script:
        "../../scripts/report.py"


# A film of every contrast of a time series (geometry.axis: time).
rule film:
    input:
        projections=rules.assemble.output.projections,
        blocks=block_files,
    output:
        folder=directory(f"{RESULTS}/{{scan}}/films"),
    log:
        f"{LOGS}/film.log",
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=memory("film"),
        runtime=runtime("film"),
    params:
        **settings("film"),
    script:
        "../../scripts/film.py"
