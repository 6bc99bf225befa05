# The slabs as one file: delta, mu and darkfield (z, y, x) in physical units.
rule volume:
    input:
        slabs=lambda wildcards: [
            f"{RESULTS}/{wildcards.scan}/slabs/slab_{s:04d}.h5"
            for s in range(len(plan(wildcards.scan).slabs))
        ],
    output:
        volumes=f"{RESULTS}/{{scan}}/volumes.h5",
    log:
        "logs/{scan}/volume.log",
    benchmark:
        "logs/{scan}/volume.tsv"
    conda:
        "../../envs/volume.yaml"
    resources:
        mem_mb=memory("volume"),
        runtime=runtime("volume"),
    script:
        "../../scripts/volume.py"
