"""The contract of a retrieval method: what it owes to physics, to its spec and to the stages, whatever is inside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from speckleflow.errors import InputError
from speckleflow.retrieval import registry
from speckleflow.retrieval.base import (
    FLAG_BOUND,
    FLAG_EDGE,
    FLAG_FOLD,
    FLAG_MISFIT,
    FLAG_PERIOD,
    Fields,
    Retriever,
)
from speckleflow.retrieval.registry import default_settings
from speckleflow.scan.acquisition import Acquisition
from speckleflow.testing.patterns import Pair, make_pair


@dataclass(frozen=True)
class Tolerance:
    """Largest root mean square deviations.

    Attributes
    ----------
    u : of the displacement in px.
    t : of the transmission, and of the attenuation.
    d : of the dark field.
    t_lost : further, of the transmission where all visibility is lost: the local mean is not quite that of the pattern.
    phase : of the phase in rad.
    batch : between a projection in a batch and the same one alone, any field.
    tile : between an image in tiles and as a whole, largest difference of u in px.
    """

    u: float = 2e-3
    t: float = 1e-3
    d: float = 2e-3
    t_lost: float = 0.006
    phase: float = 0.02
    batch: float = 1e-4
    tile: float = 5e-4


class MethodContract:
    """Tests of one method, collected by pytest from a subclass whose name begins with ``Test``.

    Attributes
    ----------
    method : name in the registry.
    tolerance : what the method is held to.
    settings : of the method; None: its defaults.
    acquisition : what ``prepare`` is given.
    border : pixels at the edge of an image that are not judged.
    tiled_bytes : memory with which an image of ``tiled_shape`` is worked on in tiles, for a method with an attribute
        ``memory_bytes`` whose state has ``tiles``; None: it makes none.
    tiled_shape, tiled_settings : of that image, and settings with windows that are small beside it; None: as else.
    """

    method: ClassVar[str]
    tolerance: ClassVar[Tolerance] = Tolerance()
    settings: ClassVar[Any] = None
    acquisition: ClassVar[Acquisition] = Acquisition(
        energy_kev=20.0,
        pixel_x_m=1.3e-6,
        pixel_y_m=1.3e-6,
        distance_m=0.2,
        diffuser_distance_m=0.3,
        magnification=1.0,
        detector_blur_x_px=0.5,
        detector_blur_y_px=0.5,
    )
    border: ClassVar[int] = 24
    tiled_bytes: ClassVar[float | None] = None
    tiled_shape: ClassVar[tuple[int, int]] = (128, 640)
    tiled_settings: ClassVar[Any] = None
    _made: ClassVar[tuple[Retriever, Any, Pair]]

    # ---- what a subclass may replace

    def make(self, settings: Any = None) -> Retriever:
        """The method, on the CPU, with its settings or others."""
        settings = settings or self.settings or default_settings(self.method)
        return registry.get(self.method)(settings)

    def pair(self, shape: tuple[int, int], positions: int, **fields: Any) -> Pair:
        """Stacks with known fields; see :func:`~speckleflow.testing.patterns.make_pair`."""
        return make_pair(shape, positions, **fields)

    # ---- shared by the tests

    @property
    def positions(self) -> int:
        """Five, or as near to it as the method takes."""
        spec = registry.spec_of(self.method)
        return max(spec.min_positions, min(5, spec.max_positions or 5))

    @property
    def side(self) -> int:
        """Of the images: 96 px, or the least that the method takes."""
        return max(96, registry.spec_of(self.method).min_side)

    def prepared(self) -> tuple[Retriever, Any, Pair]:
        """Method, prepared reference, and stacks without a sample; made once a class."""
        kind = type(self)
        if "_made" not in vars(kind):
            retriever, pair = self.make(), self.pair((self.side, self.side + 32), self.positions)
            kind._made = retriever, retriever.prepare(pair.reference, self.acquisition), pair
        return kind._made

    def inside(self, field: Tensor) -> Tensor:
        """The pixels that are judged."""
        return field[..., self.border : -self.border, self.border : -self.border]

    def deviation(self, field: Tensor, expected: Tensor | float) -> float:
        """Root mean square difference in them."""
        return float(self.inside(field.float() - expected).square().mean().sqrt())

    def close(self, found: Fields, expected: Fields) -> None:
        """Displacement, transmission, dark field and phase alike, the level of the phase left out."""
        bounds = {
            "ux": self.tolerance.u,
            "uy": self.tolerance.u,
            "transmission": self.tolerance.t,
            "attenuation": self.tolerance.t,
            "darkfield": self.tolerance.d,
            "phase": self.tolerance.phase,
        }
        there = dict(found.items())
        for name, field in expected.items():
            if name in bounds:
                difference = there[name] - field
                if name == "phase":
                    difference = difference - self.inside(difference).mean()
                assert self.deviation(difference, 0.0) <= bounds[name], name

    def skip_without(self, *names: str) -> None:
        """Skip a test of fields that the method does not give."""
        retriever, state, pair = self.prepared()
        missing = set(names) - {name for name, _ in retriever(pair.reference[None], state).items()}
        if missing:
            pytest.skip(f"{self.method} gives no {', '.join(sorted(missing))}")

    # ---- its spec

    def test_fields_are_those_of_the_spec_in_the_shape_and_type_of_results(self) -> None:
        retriever, state, pair = self.prepared()
        batch = torch.stack((pair.reference, 0.9 * pair.reference, pair.reference.roll((2, -1), (-2, -1))))
        kept = batch.clone()
        fields = retriever(batch, state)
        assert torch.equal(batch, kept), "the sample stack was changed"
        found, spec = {name for name, _ in fields.items()}, retriever.spec
        assert found - spec.optional_fields == spec.output_fields | {"transmission"}
        for name, field in fields.items():
            assert tuple(field.shape) == (3, *pair.reference.shape[1:]), name
            assert field.dtype == (torch.uint8 if name == "flags" else torch.float32), name
            assert bool(torch.isfinite(field.float()).all()), name
        if fields.flags is not None:
            assert int(fields.flags.max()) <= FLAG_BOUND | FLAG_FOLD | FLAG_EDGE | FLAG_MISFIT | FLAG_PERIOD
        if fields.displacement_std is not None:
            assert bool((fields.displacement_std > 0).all())
        # every projection is worked on as if it were alone, whatever stands beside it
        for k in (1, 2):
            for name, field in retriever(batch[k : k + 1], state).items():
                near = 10 * self.tolerance.batch if name == "displacement_std" else self.tolerance.batch
                assert self.deviation(getattr(fields, name)[k : k + 1].float(), field.float()) < near, name

    def test_stacks_that_do_not_fit_the_spec_are_refused(self) -> None:
        retriever, _, pair = self.prepared()
        spec, side = retriever.spec, self.side
        counts = [spec.min_positions - 1, *([] if spec.max_positions is None else [spec.max_positions + 1])]
        for n in (n for n in counts if n > 0):
            with pytest.raises(InputError, match=f"diffuser position.*'{spec.name}', found {n}"):
                retriever.prepare(torch.ones(n, side, side), self.acquisition)
        if spec.min_side > 1:
            small = torch.ones(self.positions, spec.min_side - 1, side)
            with pytest.raises(InputError, match=f"at least {spec.min_side} x {spec.min_side} pixels"):
                retriever.prepare(small, self.acquisition)
        state = retriever.prepare(pair.reference, self.acquisition)
        with pytest.raises(InputError, match="as in the reference stack"):
            retriever(pair.reference[None, :, 1:], state)

    def test_pixels_that_are_not_finite_are_refused(self) -> None:
        retriever, state, pair = self.prepared()
        for value in (float("nan"), float("inf")):
            spoiled = pair.reference.clone()
            spoiled[-1, 7, 5] = value
            with pytest.raises(InputError, match="reference stack: expected finite values"):
                retriever.prepare(spoiled, self.acquisition)
            with pytest.raises(InputError, match="sample stack: expected finite values"):
                retriever(spoiled[None], state)

    def test_an_acquisition_without_what_the_method_needs_is_refused(self) -> None:
        retriever, _, pair = self.prepared()
        for entry in retriever.spec.needs:
            blind = replace(self.acquisition, **{entry: None})
            with pytest.raises(InputError, match=f"method '{self.method}': expected .*, found none"):
                retriever.prepare(pair.reference, blind)

    # ---- physics

    def test_nothing_in_the_beam_gives_nothing(self) -> None:
        retriever, state, pair = self.prepared()
        fields = retriever(pair.reference[None], state)
        one, zero = torch.ones_like(fields.transmission), torch.zeros_like(fields.transmission)
        expected = {"ux": zero, "uy": zero, "attenuation": zero, "phase": zero, "darkfield": one}
        there = {name: value for name, value in expected.items() if getattr(fields, name) is not None}
        self.close(fields, Fields(transmission=one, **there))

    @pytest.mark.parametrize("factor", [0.35, 1.15])
    def test_light_scales_the_transmission_alone(self, factor: float) -> None:
        retriever, state, pair = self.prepared()
        sample = torch.roll(pair.reference, (1, 2), (-2, -1))[None]
        one, other = retriever(sample, state), retriever(factor * sample, state)
        expected = replace(one, transmission=factor * one.transmission)
        if one.attenuation is not None:
            expected = replace(expected, attenuation=one.attenuation - torch.tensor(factor).log())
        self.close(other, expected)

    @pytest.mark.parametrize(("dx", "dy"), [(3, -2), (-1, 0), (0, 2)])
    def test_whole_pixel_displacements_are_exact(self, dx: int, dy: int) -> None:
        self.skip_without("ux", "uy")
        retriever, state, pair = self.prepared()
        fields = retriever(torch.roll(pair.reference, (dy, dx), (-2, -1))[None], state)
        assert fields.ux is not None
        assert fields.uy is not None
        assert self.deviation(fields.ux, float(dx)) <= self.tolerance.u
        assert self.deviation(fields.uy, float(dy)) <= self.tolerance.u
        assert self.deviation(fields.transmission, 1.0) <= self.tolerance.t

    @pytest.mark.parametrize("visibility", [0.45, 0.9])
    def test_lost_visibility_is_dark_field_alone(self, visibility: float) -> None:
        self.skip_without("darkfield")
        retriever, state, pair = self.prepared()
        fields = retriever((1 + visibility * (pair.reference - 1))[None], state)
        assert fields.darkfield is not None
        assert self.deviation(fields.darkfield, visibility) <= self.tolerance.d
        assert fields.ux is None or self.deviation(fields.ux, 0.0) <= self.tolerance.u
        bound = self.tolerance.t + self.tolerance.t_lost * (1 - visibility)
        assert self.deviation(fields.transmission, 1.0) <= bound

    def test_a_transposed_scan_has_the_fields_transposed(self) -> None:
        """Rows and columns are alike: u_x and u_y change their places, all else its axes."""
        retriever, state, pair = self.prepared()
        moved = self._sample(pair)
        fields = retriever(moved[None], state)
        turned = retriever.prepare(pair.reference.mT.contiguous(), self.acquisition)
        other = retriever(moved.mT.contiguous()[None], turned).map(lambda field: field.mT)
        self.close(replace(other, ux=other.uy, uy=other.ux), fields)

    def test_a_scene_that_is_moved_has_the_fields_moved(self) -> None:
        """Two crops of one scene, 16 rows and 32 columns apart: where they overlap, the fields are the same."""
        retriever = self.make()
        side = self.side
        pair = self.pair((side + 16, side + 64), self.positions)
        moved = self._sample(pair)
        crops = [(slice(0, side), slice(0, side + 32)), (slice(16, side + 16), slice(32, side + 64))]
        one, other = (
            retriever(
                moved[(slice(None), *crop)][None],
                retriever.prepare(pair.reference[(slice(None), *crop)], self.acquisition),
            )
            for crop in crops
        )
        self.close(one.map(lambda f: f[..., 16:, 32:]), other.map(lambda f: f[..., : side - 16, :side]))

    def test_tiles_give_the_whole(self) -> None:
        if self.tiled_bytes is None:
            pytest.skip(f"{self.method} makes no tiles")
        pair = self.pair(self.tiled_shape, self.positions)
        sample = self._sample(pair)[None]
        whole, tiled = self.make(self.tiled_settings), self.make(self.tiled_settings)
        tiled.memory_bytes = self.tiled_bytes  # type: ignore[attr-defined]
        states = whole.prepare(pair.reference), tiled.prepare(pair.reference)
        assert [len(state.tiles) > 1 for state in states] == [False, True]
        one, many = (method(sample, state) for method, state in zip((whole, tiled), states, strict=True))
        others = dict(many.items())
        for name, field in one.items():
            field, other = self.inside(field).float(), self.inside(others[name]).float()
            difference = (field - other).abs()
            if name == "flags":
                assert float((difference > 0).float().mean()) <= 1e-3, name
            elif name == "displacement_std":
                assert float((difference / (field + 1e-6)).median()) <= 1e-2, name
            else:
                assert float(difference.max()) <= self.tolerance.tile, name

    @staticmethod
    def _sample(pair: Pair) -> Tensor:
        """The reference displaced by (-2, 1) px behind a wavy absorber."""
        height, width = pair.reference.shape[1:]
        y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
        return pair.reference.roll((1, -2), (-2, -1)) * (0.8 + 0.1 * torch.sin(x / 20 + y / 35))
