# What all rules share. The scans come from the scan table; the plan (blocks, slabs, resources) follows from the data.
import atexit
import functools
import hashlib
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

from speckleflow.config import load_scans, parse_config
from speckleflow.errors import SpeckleflowError
from speckleflow.io.atomic import check_writable, may_read
from speckleflow.io.scan import raw_files
from speckleflow.io.writers.registry import WRITERS
from speckleflow.scan.spec import ScanSpec
from speckleflow.stages.registry import setting_keys, setting_lines
from speckleflow.workflow.batch import batch_outcomes, batch_text, write_batch
from speckleflow.workflow.lock import note_owner, release_dead_lock
from speckleflow.workflow.plan import plan_scan
from speckleflow.weights import digest

try:
    CONFIG = parse_config(config, ", ".join(map(str, workflow.configfiles)) or "config")
    SCANS = load_scans(CONFIG)
    STATE = Path(".snakemake").absolute()
    if workflow.is_main_process:
        check_writable(STATE, "the folder in which Snakemake runs")
        check_writable(CONFIG.results, "results")
except SpeckleflowError as error:
    raise WorkflowError(str(error)) from None

if workflow.is_main_process and (released := release_dead_lock(STATE)):
    logger.info(released)


# The lock is held from here on.
onstart:
    note_owner(STATE)


# The table of the batch: the last lines of the terminal, and results/batch.tsv.
def tell_batch(log):
    outcomes = batch_outcomes(SCANS, RESULTS, log=Path(log[0]) if log else None)
    if any(outcome.verdict == "failed" for outcome in outcomes) or all(
        outcome.verdict == "report" for outcome in outcomes
    ):
        atexit.register(print, batch_text(outcomes), file=sys.stderr)
        try:
            write_batch(outcomes, Path(RESULTS) / "batch.tsv")
        except SpeckleflowError as error:
            logger.warning(str(error))


onsuccess:
    tell_batch(log)


onerror:
    tell_batch(log)


RESULTS = CONFIG.results.rstrip("/")
# Logs and timings of a scan lie with its results.
LOGS = f"{RESULTS}/{{scan}}/logs"
# What the job asks for that says why a scan cannot be planned.
SMALL_JOB_MB, SMALL_JOB_MIN = 1000, 5


wildcard_constraints:
    scan="|".join(map(re.escape, SCANS)),
    block=r"\d{4}",
    slab=r"\d{4}",
    format="|".join(map(re.escape, WRITERS)),


@functools.cache
def plan(scan):
    """Blocks, slabs and predictions of a scan; None where its raw data cannot be read, as its inspection will say.

    Asked for by input functions, so that no file is opened while this file is parsed. Follows from the manifest,
    or before there is one from one header of the raw data.
    """
    try:
        return plan_scan(
            ScanSpec(scan, SCANS[scan]), manifest=f"{RESULTS}/{scan}/manifest.json"
        )
    # whatever it is, it stops this scan alone: its inspection meets it again
    except Exception as error:
        logger.warning(f"{scan}: cannot be planned. {error}")
        return None


@functools.cache
def deciding_settings(scan, stage):
    return setting_lines(stage, SCANS[scan])


def settings(stage):
    """Params functions: 'key: value' of every setting that decides a stage's result, and so when it is made again.

    Beside them all settings as the user made them, for the script. Snakemake compares no params whose function asks
    for threads: where and how fast a job computes is no reason to repeat it.
    """

    def of(key):
        return lambda wildcards: deciding_settings(wildcards.scan, stage).get(key, "")

    return {
        **{key.replace(".", "_"): of(key) for key in setting_keys(stage)},
        "config": lambda wildcards, threads: SCANS[wildcards.scan].model_dump(
            mode="json"
        ),
    }


def weights_digest(wildcards):
    """A params function: what the network's weights are, so that other ones make the results again."""
    try:
        return f"weights: {str(digest(SCANS[wildcards.scan].retrieval))[:16]}"
    except SpeckleflowError:
        return "weights: absent"  # as the inspection and the job itself say


@functools.cache
def raw_state(scan):
    if SCANS[scan].simulate.enabled:
        return "simulated"
    digest = hashlib.sha256()
    try:
        for path in raw_files(ScanSpec(scan, SCANS[scan])):
            stat = path.stat()
            digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    except (SpeckleflowError, OSError):
        return "absent"
    return digest.hexdigest()[:16]


def raw_digest(wildcards):
    """A params function: names, sizes and times of the raw files."""
    return f"raw files: {raw_state(wildcards.scan)}"


def memory(stage):
    """A resources function: predicted MB of one job of a stage, half as much again with every attempt."""

    def of(wildcards, attempt):
        jobs = plan(wildcards.scan)
        needed = jobs.memory_mb(stage) if jobs else SMALL_JOB_MB
        return int(needed * (1 + 0.5 * (attempt - 1)))

    return of


def runtime(stage):
    """A resources function: predicted minutes of one job of a stage, with room; doubled with every attempt."""

    def of(wildcards, attempt):
        jobs = plan(wildcards.scan)
        return (jobs.runtime_min(stage) if jobs else SMALL_JOB_MIN) * 2 ** (attempt - 1)

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
    return getattr(SCANS[wildcards.scan].execution, section).device == "cuda"


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


def threads_of(section):
    """A threads function: what the scan's settings say."""
    return lambda wildcards: getattr(SCANS[wildcards.scan].execution, section).threads


def raw_data(wildcards):
    """An input function: the raw files of a scan, or the truth of a simulated one (written after its frames).

    None where a file is absent or not to be read: the inspection then names each one, and the other scans go on.
    """
    spec = ScanSpec(wildcards.scan, SCANS[wildcards.scan])
    if spec.config.simulate.enabled:
        return truth(wildcards)
    try:
        paths = [str(path) for path in raw_files(spec)]
    except SpeckleflowError:
        return []
    # Snakemake stops all scans at a file that it may not read
    return paths if all(map(may_read, paths)) else []


def truth(wildcards):
    """An input function: the truth of a simulated scan."""
    simulated = SCANS[wildcards.scan].simulate.enabled
    return [f"raw/{wildcards.scan}/truth.h5"] if simulated else []


def blocks_of(scan, folder):
    """The files of all blocks of a scan in one of its folders, in order."""
    count = len(plan(scan).blocks) if plan(scan) else 0
    return [f"{RESULTS}/{scan}/{folder}/block_{b:04d}.h5" for b in range(count)]


def field_blocks(wildcards):
    """An input function: the fields of all blocks."""
    return blocks_of(wildcards.scan, "fields")


def phase_blocks(wildcards):
    """An input function: the phase of all blocks, where the method gives one or a displacement."""
    scan = wildcards.scan
    with_phase = plan(scan) and plan(scan).has_phase
    return blocks_of(scan, "phase") if with_phase else []


def block_files(wildcards):
    """An input function: every file behind projections.h5, so that an absent one is made again."""
    return [*field_blocks(wildcards), *phase_blocks(wildcards)]


def slab_files(wildcards):
    """An input function: the slabs of a scan, in order."""
    count = len(plan(wildcards.scan).slabs) if plan(wildcards.scan) else 0
    return [f"{RESULTS}/{wildcards.scan}/slabs/slab_{s:04d}.h5" for s in range(count)]


def volume_file(wildcards):
    """An input function: the volumes of a scan with several angles."""
    scan = wildcards.scan
    tomographic = plan(scan) and plan(scan).tomographic
    return [f"{RESULTS}/{scan}/volumes.h5"] if tomographic else []


def exports_of(scan):
    """The folders of the formats that a scan's volumes are written in."""
    return [f"{RESULTS}/{scan}/{name}" for name in plan(scan).outputs]


def final_files(wildcards):
    """An input function: what a user gets of every scan, and the files that it stands on.

    Of a scan that cannot be planned only the manifest, whose job says why.
    """
    files = []
    for scan in SCANS:
        folder = f"{RESULTS}/{scan}"
        if plan(scan) is None:
            files.append(f"{folder}/manifest.json")
            continue
        phases = blocks_of(scan, "phase") if plan(scan).has_phase else []
        volumes = ["volumes.h5"] if plan(scan).tomographic else []
        films = ["films"] if SCANS[scan].geometry.axis == "time" else []
        results = [
            "manifest.json",
            "corrected.h5",
            *volumes,
            "projections.h5",
            "report.html",
            *films,
        ]
        files += [
            *(f"{folder}/{name}" for name in results),
            *exports_of(scan),
            *blocks_of(scan, "fields"),
            *phases,
        ]
    return files
