# Open and check everything before hours of work are spent; raw data are never written.
def raw_data(wildcards):
    scan = SCANS[wildcards.scan]
    if scan.simulate.enabled:
        return [f"raw/{wildcards.scan}/truth.h5"]
    try:
        return [str(path) for path in raw_files(scan, wildcards.scan)]
    except SpeckleflowError as error:
        raise WorkflowError(str(error)) from None


rule inspect:
    input:
        raw=raw_data,
    output:
        manifest=f"{RESULTS}/{{scan}}/manifest.json",
    log:
        "logs/{scan}/inspect.log",
    retries: 0  # what is wrong with the data stays wrong
    conda:
        "../../envs/inspect.yaml"
    resources:
        mem_mb=memory("inspect"),
        runtime=runtime("inspect"),
    params:
        settings=settings("files", "geometry", "correct", "retrieval"),
    script:
        "../../scripts/inspect.py"
