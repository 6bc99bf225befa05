"""Reading network weights: safetensors (ours), and the authors' published checkpoint by path."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from speckleflow.errors import InputError

#: the published checkpoint's names -> ours
PUBLISHED_NAMES = (
    (r"^netFeatures\.Feature\(Lv(\d)\)\.", r"encoder.\1."),
    (r"^netFeaturesLast\.FeatureLast\.", "encoder_full."),
    (r"^Upsample\.", "upsample."),
    (r"^flow_estimators\.(\d)\.NetMain_flow\.", r"displacement.\1."),
    (r"^t_estimator\.NetMain_T\.", "transmission."),
    (r"^d_estimator\.NetMain_D\.", "darkfield."),
    (r"^flow_refiner\.NetMain_refiner\.", "refine_displacement."),
    (r"^t_refiner\.NetMain_refiner\.", "refine_transmission."),
    (r"^d_refiner\.NetMain_refiner\.", "refine_darkfield."),
)


#: parameter names of our weight files of earlier versions -> those of now
EARLIER_NAMES = ((r"^join\.", "fusion."),)


#: bytes of the largest weight file that is read; the published checkpoint has 0.2 GB
_MOST_BYTES = 2 * 10**9


@dataclass(frozen=True)
class WeightFile:
    """What a weight file says of itself: its SHA-256 and the strings of its header."""

    sha256: str
    about: dict[str, str]

    def number(self, key: str, default: float) -> float:
        """A number of the header."""
        return float(self.about.get(key, default))


def load(network: nn.Module, path: str | Path, partial: bool = False) -> WeightFile:
    """Load ``path`` into ``network`` and say what the file was.

    A ``.safetensors`` file is ours; anything else is read as the authors' checkpoint (a dict with
    ``model_state_dict``), tensors only, so that a file cannot run code. With ``partial``, tensors that the
    file lacks keep their values (a network that has grown).

    Raises
    ------
    InputError
        The file is damaged, holds anything but tensors, or belongs to another structure.
    """
    path = Path(path)
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise InputError(path, expected="weights of at most 2 GB", found=f"{size} bytes")
    content = path.read_bytes()
    tensors = _safetensors(path, content) if path.suffix == ".safetensors" else _published(path)
    if partial:
        tensors = {**network.state_dict(), **tensors}
    _check(network, tensors, path)
    network.load_state_dict(tensors)
    return WeightFile(hashlib.sha256(content).hexdigest(), about(path))


def about(path: str | Path) -> dict[str, str]:
    """The strings in a safetensors file's header; empty for any other file, or a damaged one."""
    with Path(path).open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")  # the format: length, JSON header, data
        try:
            header = json.loads(stream.read(length)) if length < 1 << 24 else {}
        except ValueError:  # not JSON, not UTF-8: not ours, and `load` says so
            return {}
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    return {str(k): str(v) for k, v in metadata.items()}


def check_network(path: Path, about: dict[str, str], networks: frozenset[str], method: str) -> None:
    """Refuse weights whose header names another network than those of a method, though their structure may fit.

    Raises
    ------
    InputError
        Such weights. A file that names none is taken.
    """
    trained = about.get("network")
    if trained is not None and trained not in networks:
        raise InputError(
            path,
            expected=f"weights of the network {' or '.join(sorted(networks))} for method '{method}'",
            found=f"those of {trained}",
        )


def _safetensors(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        tensors = load_tensors(content)
    except SafetensorError as error:
        raise InputError(path, expected="a safetensors file", found=f"something else ({error})") from error
    return {_translate_name(name, EARLIER_NAMES): value for name, value in tensors.items()}


def _published(path: Path) -> dict[str, Tensor]:
    expected = "a checkpoint of tensors with the key 'model_state_dict'"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            path,
            expected=expected,
            found="objects that could run code, or no PyTorch file at all",
            hint="nothing was executed; save the tensors alone, or as safetensors",
        ) from error
    except Exception as error:  # the unpickler raises anything on damaged bytes
        raise InputError(path, expected=expected, found=f"a damaged file ({error})") from error
    tensors = content.get("model_state_dict") if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(v, Tensor) for v in tensors.values()):
        raise InputError(path, expected=expected, found=f"{type(content).__name__} without it")
    # distributed training adds "module."
    names = {str(name): str(name).removeprefix("module.") for name in tensors}
    return {_translate_name(names[str(name)], PUBLISHED_NAMES): value for name, value in tensors.items()}


def _translate_name(name: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, ours in table:
        translated, count = re.subn(pattern, ours, name)
        if count:
            return translated
    return name


def _check(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    wanted = network.state_dict()
    kind = type(network).__name__
    missing, strange = wanted.keys() - tensors.keys(), tensors.keys() - wanted.keys()
    if missing or strange:
        example = sorted(missing)[0] if missing else sorted(strange)[0]
        raise InputError(
            path,
            expected=f"the {len(wanted)} tensors of {kind}",
            found=f"{len(tensors)} tensors, {len(missing)} missing and {len(strange)} of another structure",
            hint=f"the first that does not fit is '{example}'",
        )
    for name, value in wanted.items():
        if value.shape != tensors[name].shape:
            raise InputError(
                path,
                expected=f"{kind} with '{name}' of shape {tuple(value.shape)}",
                found=f"shape {tuple(tensors[name].shape)}",
            )
        if tensors[name].is_floating_point() and not torch.isfinite(tensors[name]).all():
            raise InputError(path, expected="finite weights", found=f"NaN or infinity in '{name}'")
