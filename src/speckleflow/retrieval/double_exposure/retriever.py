"""The double exposure behind the protocol of every retrieval method.

Eq. (1) of Yu et al.: I = T_inline [ I0 + D dI_r(x - S) ]. The generator makes T_inline of the frames with and without
sample; the frame over T_inline is what a sample without edges would give, and is tracked.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speckleflow.errors import ConfigError, InputError
from speckleflow.retrieval import registry
from speckleflow.retrieval.base import Fields, Retriever
from speckleflow.retrieval.cade.retriever import common_displacement, moved_back
from speckleflow.retrieval.double_exposure.network import MULTIPLE, Generator, to_input, to_transmission
from speckleflow.retrieval.double_exposure.spec import SPEC
from speckleflow.retrieval.espinnet import weights
from speckleflow.retrieval.espinnet.layers import pad_to_multiple, unpad
from speckleflow.retrieval.filters import filter_xy, gaussian
from speckleflow.retrieval.fringes import log_determinant
from speckleflow.retrieval.sampling import pull
from speckleflow.scan.acquisition import Acquisition
from speckleflow.weights import find

log = logging.getLogger(__name__)

#: the beam's shape: mean of the reference over a Gaussian of this standard deviation in px
BEAM_PX = 24.0
#: the in-line image without its fringes: mean over a Gaussian of this standard deviation in px
SURROUNDINGS_PX = 8.0
#: window in px of the determinant that fringes come from (as of method umpa)
_FRINGES = gaussian(1.5, truncate=3.0)
#: pixel size and energy may differ from those of the training by this share without a warning
NEAR = 0.05


@dataclass
class State:
    """What depends on the reference frame (1, y, x) alone."""

    shape: tuple[int, int, int]
    reference: Tensor  #: divided by its mean
    scale: float
    beam: Tensor  #: (y, x) its shape
    of_tracker: Any  #: what the tracker made of it
    nothing: Tensor  #: (y, x) the generator's output for the frame without sample


class DoubleExposure(Retriever):
    """Displacement, transmission and dark field from a single frame and its generated in-line image."""

    spec = SPEC

    def __init__(self, settings: Any, device: torch.device | str = "cpu") -> None:
        super().__init__(settings, device)
        tracker = registry.spec_of(settings.tracker)
        if not (tracker.takes(1) and tracker.gives_displacement) or tracker.name == SPEC.name:
            raise ConfigError(
                "retrieval.double_exposure.tracker: expected a method that takes a single diffuser position and "
                f"gives a displacement, found '{settings.tracker}'"
            )
        self.tracker = registry.get(settings.tracker)(
            registry.default_settings(settings.tracker), self.device
        )
        path = find(SPEC.name, settings.weights)
        about = weights.about(path)
        weights.check_network(path, about, frozenset({SPEC.name}), SPEC.name)
        self.generator = Generator(float(about.get("width", 1.0)), int(about.get("inputs", 1)))
        self.file = weights.load(self.generator, path)
        self.weights_sha256 = self.file.sha256
        self.generator = self.generator.to(self.device).eval().requires_grad_(False)
        self._told: Acquisition | None = None

    def _reference_shape(self, state: State) -> tuple[int, int, int]:
        return state.shape

    @torch.inference_mode()
    def _prepare(self, reference: Tensor, acquisition: Acquisition) -> State:
        self._check_range(acquisition)
        scale = float(reference.mean())
        if not scale > 0:
            raise InputError("reference stack", expected="a beam (mean above 0)", found=f"mean {scale:g}")
        _, height, width = reference.shape
        frame = reference / scale
        beam = smoothed(frame[0], BEAM_PX).clamp_min(1e-3)
        nothing = self._generate(frame / beam, frame / beam)[0]
        of_tracker = self.tracker.prepare(frame)
        return State((1, height, width), frame, scale, beam, of_tracker, nothing)

    @torch.inference_mode()
    def _retrieve(self, sample: Tensor, state: Any) -> Fields:
        frames = sample[:, 0] / state.scale
        inline = torch.stack([self.inline_image(frame, state) for frame in frames])
        surroundings = smoothed(inline, SURROUNDINGS_PX).clamp_min(1e-3)
        fringes = inline / surroundings
        soft = self.settings.softness**2
        gain = (1 + soft) * fringes / (fringes**2 + soft)
        divided = state.beam * (1 + (frames / state.beam / surroundings - fringes) * gain)
        tracked = self.tracker(divided[:, None], state.of_tracker)
        assert tracked.ux is not None
        assert tracked.uy is not None
        u = torch.stack([tracked.ux, tracked.uy], 1)
        remaining = tracked.transmission_measured
        of_tracker = tracked.transmission if remaining is None else remaining
        measured = of_tracker * pull(inline[:, None], u)[:, 0]
        d = torch.ones_like(measured) if tracked.darkfield is None else tracked.darkfield
        return Fields(
            transmission=measured * log_determinant(u, _FRINGES)[:, 0].exp(),
            ux=tracked.ux,
            uy=tracked.uy,
            darkfield=d,
            flags=torch.zeros_like(d, dtype=torch.uint8) if tracked.flags is None else tracked.flags,
            transmission_measured=measured,
        )

    def inline_image(self, frame: Tensor, state: State) -> Tensor:
        """T_inline (y, x) of a frame (y, x) over the mean of the reference.

        The sample's mean absorption and the whole pixels by which it is displaced as a whole are taken off before,
        since the generator was not trained on them; what it makes of a frame without sample counts as no image.
        """
        flat, reference = frame / state.beam, state.reference[0] / state.beam
        level = flat.mean() / reference.mean()
        shift = common_displacement(reference - 1, (flat / level - 1)[None])[0]
        here = moved_back(reference, -shift)
        made = self._generate(here[None], (flat / level)[None])[0] - moved_back(state.nothing, -shift)
        return level * to_transmission(made)

    def _generate(self, reference: Tensor, frame: Tensor) -> Tensor:
        """The generator's output (B, y, x) of flat frames (B, y, x)."""
        shown = to_input(reference[:, None], frame[:, None], self.generator.inputs)
        padded, padding = pad_to_multiple(shown, MULTIPLE)
        return unpad(self.generator(padded), padding)[:, 0]

    def _check_range(self, acquisition: Acquisition) -> None:
        """Warn, once, where energy or pixel size are not those of the training."""
        if self._told == acquisition:
            return
        self._told = acquisition
        found = {
            "energy_kev": (acquisition.energy_kev, "keV"),
            "pixel_size_um": (None if acquisition.pixel_x_m is None else acquisition.pixel_x_m * 1e6, "um"),
        }
        for key, (value, unit) in found.items():
            trained = self.file.about.get(key)
            if value is None or trained is None or abs(value / float(trained) - 1) <= NEAR:
                continue
            log.warning(
                "double_exposure: the generator was trained for %s = %g %s, the scan has %g %s: its in-line image may "
                "be wrong; look at the misfit, or train for this scan",
                key,
                float(trained),
                unit,
                value,
                unit,
            )


def smoothed(images: Tensor, sigma: float) -> Tensor:
    """Means over a Gaussian, of images (..., y, x); at the border over the part of it that is inside."""
    kernel = gaussian(sigma, truncate=3.0)
    inside = filter_xy(images.new_ones(1, *images.shape[-2:]), kernel, kernel, "zero")[0]
    return filter_xy(images, kernel, kernel, "zero") / inside
