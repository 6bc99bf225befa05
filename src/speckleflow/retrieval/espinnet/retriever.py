"""The networks behind the protocol of every retrieval method."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from speckleflow.errors import InputError
from speckleflow.retrieval.base import Fields, Retriever
from speckleflow.retrieval.espinnet import weights
from speckleflow.retrieval.espinnet.layers import pad_to_multiple, unpad
from speckleflow.retrieval.espinnet.spec import SPEC
from speckleflow.retrieval.espinnet.structures import Fast, Published, Structure
from speckleflow.retrieval.harmonics import Harmonics, find_harmonics, guess_displacement
from speckleflow.retrieval.parallel import parallel_for, thread_pool
from speckleflow.retrieval.spectrum import spectrum
from speckleflow.retrieval.tiles import SHARE, Tile, choose_side, free_memory, in_parts, make_tiles
from speckleflow.scan.acquisition import Acquisition
from speckleflow.weights import find

#: projections that go through a network together on a GPU
GPU_BATCH = 8


@dataclass
class State:
    """A scan's reference stack (N, y, x) divided by its mean, padded; and what the network made of it, tile
    by tile.
    """

    shape: tuple[int, int, int]
    scale: float
    reference: Tensor
    padding: tuple[int, int, int, int]
    side: int
    whole: Any = None  #: what the network needs of the whole reference, for every tile
    prepared: dict[int, Any] = field(default_factory=dict)
    keep: bool = True  #: what was prepared stays for the next batch
    harmonics: Harmonics | None = None  #: of a periodic pattern, where the structure takes a guess from them

    def tiles(self, halo: int, multiple: int) -> list[Tile]:
        height, width = self.reference.shape[-2:]
        return make_tiles(height, width, self.side, halo, multiple)


class NetworkRetriever(Retriever):
    """Base of the networks: normalisation, padding, tiles, batches, and smaller ones when memory is short.

    Attributes
    ----------
    networks : what the headers of its weight files name, as the training does.
    """

    networks: frozenset[str]

    def __init__(self, settings: Any, device: torch.device | str = "cpu") -> None:
        super().__init__(settings, device)
        path = find(self.spec.name, settings.weights)
        about = weights.about(path)
        weights.check_network(path, about, self.networks, self.spec.name)
        structure_class = self._structure(path, about)
        network = structure_class.build(about)
        file = weights.load(network, path)
        self.weights_sha256 = file.sha256
        network = network.to(self.device).eval().requires_grad_(False)
        # oneDNN and cuDNN both convolve in this order of memory, and need not bring it about for every layer
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.structure: Structure = structure_class(network, settings, file)

    @abstractmethod
    def _structure(self, path: Path, about: dict[str, str]) -> type[Structure]:
        """The structure that the weight file at ``path`` with this header belongs to."""

    @property
    def halo(self) -> int:
        """Context that a tile needs: the structure's."""
        return self.structure.halo

    def _reference_shape(self, state: State) -> tuple[int, int, int]:
        return state.shape

    def _prepare(self, reference: Tensor, acquisition: Acquisition) -> State:
        scale = float(reference.mean())
        if not scale > 0:
            raise InputError("reference stack", expected="a beam (mean above 0)", found=f"mean {scale:g}")
        padded, padding = pad_to_multiple(reference[None] / scale, self.structure.multiple)
        height, width = padded.shape[-2:]
        free = free_memory(self.device)
        side = choose_side(height, width, self.halo, self.structure.bytes_per_pixel(len(reference)), free)
        n, y, x = reference.shape
        whole = self.structure.prepare_whole(padded[0])
        harmonics = None
        if self.structure.takes_guess:
            harmonics = find_harmonics(reference / scale, spectrum(reference / scale))
        return State((n, y, x), scale, padded[0], padding, side, whole, harmonics=harmonics)

    @torch.inference_mode()
    def _retrieve(self, sample: Tensor, state: Any) -> Fields:
        structure = self.structure
        halo, multiple = structure.halo, structure.multiple

        def run(part: Tensor) -> list[Tensor]:
            level = structure.levelled(unpad(state.reference[None], state.padding), part / state.scale)
            padded, padding = pad_to_multiple(level, multiple)
            guess = begin = None
            if state.harmonics is not None:
                guess = guess_displacement(state.harmonics, level)
                begin = F.pad(guess.maps, padding, mode="replicate")
            del level
            whole: list[Tensor] = []
            for index, tile in enumerate(state.tiles(halo, multiple)):
                prepared = state.prepared.get(index)
                if prepared is None:
                    prepared = structure.prepare_tile(state.reference, tile, state.whole)
                    if state.keep:
                        state.prepared[index] = prepared
                begun = None if begin is None else tile.cut(begin)
                maps = self._run_tile(tile.cut(padded), prepared, begun)
                prepared = None
                whole = whole or [padded.new_empty(len(part), *padded.shape[-2:]) for _ in maps]
                for image, piece in zip(whole, maps, strict=True):
                    image[(..., *tile.inner)] = tile.core(piece[:, 0])
            maps = [unpad(image, padding) for image in whole]
            return maps if guess is None else [*maps, guess.flags(maps[0], maps[1])]

        def smaller() -> bool:
            state.prepared.clear()
            height, width = state.reference.shape[-2:]
            side = min(state.side, max(height, width)) // 2
            if side < 16 or len(make_tiles(height, width, side, halo, multiple)) == 1:
                return False
            # with their halos, small tiles would together keep more than the whole image
            state.side, state.keep = side, False
            return True

        size = GPU_BATCH if self.device.type == "cuda" else self._at_once(state)
        maps = in_parts(sample, size, run, smaller)
        if state.harmonics is None:
            return structure.fields(maps)
        *maps, flags = maps
        fields = structure.fields(maps)
        return replace(fields, flags=flags if fields.flags is None else fields.flags | flags)

    def _at_once(self, state: State) -> int:
        """Projections that the threads of a CPU work on, one each; fewer where that would need smaller tiles."""
        n, height, width = state.reference.shape
        side = state.side + 2 * self.halo
        needed = min(height, side) * min(width, side) * self.structure.bytes_per_pixel(n)
        return max(1, min(torch.get_num_threads(), int(SHARE * free_memory(self.device) / needed)))

    def _run_tile(self, sample: Tensor, prepared: Any, guess: Tensor | None) -> list[Tensor]:
        """Maps (B, 1, y, x) of a tile. On a CPU each projection stays with one thread from start to end, which
        keeps both busier than sharing out every operation.
        """
        if self.device.type != "cpu" or len(sample) == 1:
            return self.structure.run_tile(sample, prepared, guess)
        results: dict[int, list[Tensor]] = {}

        def run_projection(k: int) -> None:
            begun = None if guess is None else guess[k : k + 1]
            results[k] = self.structure.run_tile(sample[k : k + 1], prepared, begun)

        with thread_pool(self.device):
            parallel_for(run_projection, range(len(sample)))
        return [torch.cat(maps) for maps in zip(*(results[k] for k in range(len(sample))), strict=True)]


class Espinnet(NetworkRetriever):
    """ESPINNet: a neural network for two positions or more; our weights, or the authors' by path."""

    spec = SPEC
    networks = frozenset({"espinnet-fast", "espinnet"})

    def _structure(self, path: Path, about: dict[str, str]) -> type[Structure]:
        theirs = path.suffix != ".safetensors" or about.get("network") == "espinnet"
        return Published if theirs else Fast
