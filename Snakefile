# speckleflow: from raw modulated-pattern images to quantitative volumes.
#   snakemake --cores all                                          the demo (config/config.yaml)
#   snakemake --cores all --configfile config/examples/tooth.yaml  your own configuration
#   snakemake --profile slurm                                      on a cluster
from snakemake.utils import min_version

min_version("9.0")


# A configuration given on the command line replaces the demo's; the two are never mixed.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/simulate.smk"
include: "workflow/rules/inspect.smk"
include: "workflow/rules/correct.smk"
include: "workflow/rules/retrieve.smk"
include: "workflow/rules/preview.smk"
include: "workflow/rules/integrate.smk"
include: "workflow/rules/assemble.smk"
include: "workflow/rules/reconstruct.smk"
include: "workflow/rules/volume.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    simulated,
    previews,
    inspected,


# Everything: the volumes (or, for a single view, the projections) and the report of every scan.
rule all:
    default_target: True
    input:
        final_files,


# Only make the raw files of the simulated scans.
rule simulated:
    input:
        [f"raw/{scan}/truth.h5" for scan in SCANS if SCANS[scan].simulate.enabled],


# Only open and check the raw data of every scan.
rule inspected:
    input:
        expand(f"{RESULTS}/{{scan}}/manifest.json", scan=SCANS),


# One projection of every scan, through all contrasts: look before the long run.
rule previews:
    input:
        expand(f"{RESULTS}/{{scan}}/preview.png", scan=SCANS),
