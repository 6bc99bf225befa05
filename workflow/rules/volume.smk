# The slabs as one file: delta, mu and darkfield (z, y, x) in physical units.
rule volume:
    input:
        slabs=slab_files,
    output:
        volumes=f"{RESULTS}/{{scan}}/volumes.h5",
    log:
        f"{LOGS}/volume.log",
    benchmark:
        f"{LOGS}/volume.tsv"
    conda:
        "../../envs/volume.yaml"
    resources:
        mem_mb=memory("volume"),
        runtime=runtime("volume"),
    params:
        **settings("volume"),
    script:
        "../../scripts/volume.py"
