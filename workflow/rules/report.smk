# The HTML that a person opens, and the errors against the truth where there is one.
rule report:
    input:
        manifest=rules.inspect.output.manifest,
        corrected=rules.correct.output.corrected,
        projections=rules.assemble.output.projections,
        blocks=block_files,
        volumes=lambda wildcards: (
            [f"{RESULTS}/{wildcards.scan}/volumes.h5"]
            if plan(wildcards.scan).tomographic
            else []
        ),
        truth=lambda wildcards: (
            [f"raw/{wildcards.scan}/truth.h5"]
            if SCANS[wildcards.scan].simulate.enabled
            else []
        ),
    output:
        html=f"{RESULTS}/{{scan}}/report.html",
        summary=f"{RESULTS}/{{scan}}/summary.json",
        picture=f"{RESULTS}/{{scan}}/contrasts.png",
    log:
        "logs/{scan}/report.log",
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=memory("report"),
        runtime=runtime("report"),
    params:
        settings=settings(*ScanConfig.model_fields),
        timings=lambda wildcards: f"logs/{wildcards.scan}",
    script:
        "../../scripts/report.py"
