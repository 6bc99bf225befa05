"""CADE behind the protocol of every retrieval method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speckleflow.retrieval.base import FLAG_BOUND, Fields
from speckleflow.retrieval.cade import network
from speckleflow.retrieval.cade.spec import SPEC
from speckleflow.retrieval.espinnet import refinement
from speckleflow.retrieval.espinnet.retriever import NetworkRetriever
from speckleflow.retrieval.espinnet.structures import Structure, flagged
from speckleflow.retrieval.filters import gaussian
from speckleflow.retrieval.fringes import log_determinant
from speckleflow.retrieval.normal import local_mean, measure, spline_coefficients
from speckleflow.retrieval.parallel import thread_pool
from speckleflow.retrieval.sampling import pull
from speckleflow.retrieval.tiles import Tile

#: farthest common displacement of a projection that is found, in px
REACH_PX = 32
#: window in which the determinant that fringes come from is taken (px), as of method umpa
_FRINGES = gaussian(1.5, truncate=3.0)


class Cade(NetworkRetriever):
    """CADE: a neural network for a single diffuser position; displacement and transmission, no dark field."""

    spec = SPEC
    networks = frozenset({"cade"})

    def _structure(self, path: Path, about: dict[str, str]) -> type[Structure]:
        return StrainNet


@dataclass(frozen=True)
class Whole:
    """What tiles need of the whole reference: the flattened frame (1, y, x), its contrast, the pattern's properties."""

    flat: Tensor
    contrast: Tensor
    pattern: refinement.Pattern


class StrainNet(Structure):
    """StrainNet-f (:mod:`.network`) and three steps that the paper does not have.

    Before: the whole pixels by which a projection as a whole is displaced are taken off, since the network knows
    displacements of a pixel only. Then it runs both ways, from reference to sample and back (``both_ways``). After: the
    transmission, from the normal equations in a window at the network's displacement, as in espinnet's refinement.
    """

    multiple = network.MULTIPLE
    halo = network.HALO + 2  # and what tracking back is looked up at, a pixel away
    maps = ("ux", "uy", "transmission_measured", "beyond_range")
    grid = "reference"

    @staticmethod
    def build(about: dict[str, str]) -> nn.Module:
        return network.StrainNetF(float(about.get("width", 1.0)))

    def bytes_per_pixel(self, positions: int) -> float:
        # at full resolution the second convolution and what is joined for the last prediction, and as much in passing;
        # regressors and spline of the window
        assert isinstance(self.network, network.StrainNetF)
        return 4.0 * (2 * (128 + 194) * self.network.width + 60)

    def levelled(self, reference: Tensor, sample: Tensor) -> Tensor:
        """(B, 4, y, x): the sample, the sample moved back and flattened, and how far it was moved (x, y)."""
        flat = network.flattened(reference[:1])
        if torch.compiler.is_compiling():  # an exported graph takes displacements of a pixel only
            shift = sample.new_zeros(len(sample), 2)
            moved = sample
        else:
            shift = common_displacement(flat[0, 0], network.flattened(sample)[:, 0])
            moved = torch.stack([moved_back(image, u) for image, u in zip(sample, shift, strict=True)])
        shifts = shift[:, :, None, None].expand(-1, -1, *sample.shape[-2:])
        return torch.cat([sample, network.flattened(moved), shifts], 1)

    def prepare_whole(self, reference: Tensor) -> Whole:
        flat = network.flattened(reference)
        contrast = flat.square().mean().sqrt().clamp_min(1e-6)
        return Whole(flat, contrast, refinement.characterise(reference))

    def traced_whole(self, reference: Tensor, whole: Whole) -> Whole:
        flat = network.flattened(reference)
        pattern = replace(whole.pattern, mean=local_mean(reference, refinement.MEAN_SIGMA))
        return Whole(flat, flat.square().mean().sqrt().clamp_min(1e-6), pattern)

    def prepare_tile(
        self, reference: Tensor, tile: Tile, whole: Any
    ) -> tuple[Tensor, Tensor, refinement.ReferenceTerms]:
        pattern = replace(whole.pattern, mean=tile.cut(whole.pattern.mean))
        terms = refinement.precompute_reference(tile.cut(reference), pattern)
        return tile.cut(whole.flat)[None], whole.contrast, terms

    def run_tile(self, sample: Tensor, prepared: Any, guess: Tensor | None = None) -> list[Tensor]:
        flat, contrast, terms = prepared
        pair = torch.cat([flat.expand(len(sample), -1, -1, -1), sample[:, 1:2]], 1) / contrast
        own = self.infer(pair).float()
        if self.settings.both_ways:
            own = (own - pull(self.infer(pair.flip(1)).float(), own)) / 2
        u = own + sample[:, 2:]
        t = torch.stack([window_transmission(terms, *each) for each in zip(sample[:, :1], u, strict=True)])
        limit = self.file.number("displacement_px", 1.0)
        return [u[:, :1], u[:, 1:], t[:, None], (own.abs().amax(1, keepdim=True) > limit).float()]

    def fields(self, maps: list[Tensor]) -> Fields:
        ux, uy, measured, beyond = maps
        t = measured * log_determinant(torch.stack([ux, uy], 1), _FRINGES)[:, 0].exp()
        fields = flagged(Fields(transmission=t, ux=ux, uy=uy))
        assert fields.flags is not None
        flags = fields.flags | (beyond > 0).to(torch.uint8) * FLAG_BOUND
        return replace(fields, flags=flags, transmission_measured=measured)


def common_displacement(reference: Tensor, samples: Tensor) -> Tensor:
    """Whole pixels (B, 2), x first, by which most of each sample (B, y, x) is displaced from the reference (y, x).

    The maximum of the cross-correlation within :data:`REACH_PX`; the images are taken for periodic.
    """
    height, width = reference.shape
    spectrum = torch.fft.rfft2(samples) * torch.fft.rfft2(reference).conj()
    correlation = torch.fft.irfft2(spectrum, s=(height, width))
    y, x = (min(REACH_PX, (n - 1) // 2) for n in (height, width))
    near = correlation.roll((y, x), (-2, -1))[:, : 2 * y + 1, : 2 * x + 1]
    place = near.flatten(1).argmax(1)
    return torch.stack([place % (2 * x + 1) - x, place // (2 * x + 1) - y], 1).to(samples)


def moved_back(image: Tensor, u: Tensor) -> Tensor:
    """image(x + u) of (..., y, x) by whole pixels u = (x, y); the border's value outside."""
    rows, columns = (
        (torch.arange(n, device=image.device) + int(shift)).clamp(0, n - 1)
        for n, shift in zip(image.shape[-2:], (u[1], u[0]), strict=True)
    )
    return image.index_select(-2, rows).index_select(-1, columns)


def window_transmission(terms: refinement.ReferenceTerms, sample: Tensor, u: Tensor) -> Tensor:
    """Transmission with fringes (y, x) of a sample (1, y, x) at the displacement (2, y, x)."""
    with thread_pool(u.device), torch.autocast(u.device.type, enabled=False):
        coefficients = spline_coefficients(sample, gaussian(terms.pattern.low_pass.sigma))
        return refinement.initial_contrasts(terms, measure(coefficients, terms.basis, *u))[0]
