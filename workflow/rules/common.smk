# What all rules share. The scans come from the sheet; the plan (blocks, slabs, resources) follows from the data.
import functools
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

SOURCE = str(Path(workflow.basedir) / "src")
if SOURCE not in sys.path:
    sys.path.insert(0, SOURCE)
PYTHONPATH = [SOURCE, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
os.environ.update(PYTHONPATH=os.pathsep.join(dict.fromkeys(PYTHONPATH)))

# Locks fail or hang on many network file systems, and nothing here needs one: a result is written under a private
# name and renamed, and no file is open for writing under its final name.
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")

from speckleflow.config import ScanConfig, load_scans, parse_config
from speckleflow.errors import SpeckleflowError
from speckleflow.io.scan import raw_files
from speckleflow.workflow.lock import take_over
from speckleflow.workflow.plan import plan_scan
from speckleflow.weights import digest

try:
    CONFIG = parse_config(config, ", ".join(map(str, workflow.configfiles)) or "config")
    SCANS = load_scans(CONFIG)
except SpeckleflowError as error:
    raise WorkflowError(str(error)) from None

if workflow.is_main_process and (released := take_over(Path(".snakemake").absolute())):
    logger.info(released)

RESULTS = CONFIG.results.rstrip("/")


wildcard_constraints:
    scan="|".join(map(re.escape, SCANS)),
    block=r"\d{4}",
    slab=r"\d{4}",


@functools.cache
def plan(scan):
    """Blocks, slabs and predictions of a scan; opens one header of its raw data."""
    try:
        return plan_scan(SCANS[scan], scan)
    except SpeckleflowError as error:
        raise WorkflowError(str(error)) from None


@functools.cache
def that_decide(scan, *sections):
    return SCANS[scan].that_decide(*sections)


def settings(*sections):
    """A params function: the scan's settings that decide a stage's result (and so when it is made again)."""

    def of(wildcards):
        return that_decide(wildcards.scan, *sections)

    return of


def weights_digest(wildcards):
    """A params function: what the network's weights are, so that other ones make the results again."""
    try:
        return digest(SCANS[wildcards.scan].retrieval)
    except SpeckleflowError as error:
        raise WorkflowError(f"{wildcards.scan}: {error}") from None


def memory(stage):
    """A resources function: predicted MB of one job of a stage, half as much again with every attempt."""

    def of(wildcards, attempt):
        return int(plan(wildcards.scan).memory_mb(stage) * (1 + 0.5 * (attempt - 1)))

    return of


def runtime(stage):
    """A resources function: predicted minutes of one job of a stage, with room; doubled with every attempt."""

    def of(wildcards, attempt):
        return plan(wildcards.scan).runtime_min(stage) * 2 ** (attempt - 1)

    return of


def gpu_request():
    """How this site asks for a GPU: default resource gpu_request of the profile, 'gpus' or 'gres:NAME[:TYPE]:1'."""
    resource = (workflow.resource_settings.default_resources or {}).get("gpu_request")
    request = getattr(resource, "raw", resource) or "gpus"
    if request != "gpus" and not request.startswith("gres:"):
        raise WorkflowError(
            "profile, default-resources: gpu_request: expected 'gpus' or 'gres:' and the words after --gres=, "
            f"found '{request}'"
        )
    return request


GPU_REQUEST = gpu_request()


def wants_gpu(section, wildcards):
    return getattr(SCANS[wildcards.scan], section).device == "cuda"


def gpus(section):
    """A resources function: 1 where the scan's settings ask for a GPU and the site counts GPUs, else 0."""

    def of(wildcards):
        return int(wants_gpu(section, wildcards) and GPU_REQUEST == "gpus")

    return of


def gres(section):
    """A resources function: the site's generic resource where the scan's settings ask for a GPU, else nothing."""

    def of(wildcards):
        asked = wants_gpu(section, wildcards) and GPU_REQUEST != "gpus"
        return GPU_REQUEST.removeprefix("gres:") if asked else ""

    return of


def raw_data(wildcards):
    """An input function: the raw files of a scan, or the truth of a simulated one (written after its frames)."""
    scan = SCANS[wildcards.scan]
    if scan.simulate.enabled:
        return [f"raw/{wildcards.scan}/truth.h5"]
    try:
        return [str(path) for path in raw_files(scan, wildcards.scan)]
    except SpeckleflowError as error:
        raise WorkflowError(str(error)) from None


def blocks_of(scan, folder):
    """The files of all blocks of a scan in one of its folders, in order."""
    count = len(plan(scan).blocks)
    return [f"{RESULTS}/{scan}/{folder}/block_{b:04d}.h5" for b in range(count)]


def field_blocks(wildcards):
    """An input function: the fields of all blocks."""
    return blocks_of(wildcards.scan, "fields")


def phase_blocks(wildcards):
    """An input function: the phase of all blocks, where the method gives a displacement."""
    scan = wildcards.scan
    return blocks_of(scan, "phase") if plan(scan).has_displacement else []


def block_files(wildcards):
    """An input function: every file behind projections.h5, so that an absent one is made again."""
    return [*field_blocks(wildcards), *phase_blocks(wildcards)]


def final_files(scan):
    """What a user gets of a scan, and the files that it stands on."""
    volumes = [f"{RESULTS}/{scan}/volumes.h5"] if plan(scan).tomographic else []
    return [
        *volumes,
        f"{RESULTS}/{scan}/projections.h5",
        f"{RESULTS}/{scan}/report.html",
        *blocks_of(scan, "fields"),
        *(blocks_of(scan, "phase") if plan(scan).has_displacement else []),
    ]
