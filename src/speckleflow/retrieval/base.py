"""The contract that every retrieval method keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from speckleflow.errors import InputError, SpeckleflowError
from speckleflow.retrieval.spec import MethodSpec
from speckleflow.retrieval.tiles import is_out_of_memory, out_of_memory
from speckleflow.scan.acquisition import Acquisition

#: Bits of :attr:`Fields.flags`.
FLAG_BOUND = 1  #: the solution stopped at a bound (search range, step clamp, T or D limit)
FLAG_FOLD = 2  #: rays cross here: the Jacobian of x -> x + u is under the limit, eq. (1) has no single answer
FLAG_EDGE = 4  #: the pixel's window leaves the image
FLAG_PERIOD = 64  #: of a periodic pattern: the displacement may be wrong by a period
FLAG_MISFIT = 16  #: the frame simulated again from the fields is not the one that was measured


@dataclass(frozen=True)
class Fields:
    """Fields of a batch of B projections on the reference grid (the ray's place in the sample).

    Each entry is a float32 tensor (B, y, x), or None where the method cannot give it. A method gives transmission or
    attenuation; from attenuation alone the transmission exp(-attenuation) follows.

    Attributes
    ----------
    ux, uy : displacement in detector pixels, x to the right and y downward; the ray through reference pixel x
        arrives at x + u(x) (Qiao et al., J. Synchrotron Rad., 2026, eq. 1).
    transmission : T, 1 = empty beam.
    phase : in rad, negative in matter, of a method that needs no integration; its level is free, the stage
        ``integrate`` makes it 0 in the air.
    attenuation : -ln T.
    scatter_xx, scatter_xy, scatter_yy : covariance in px^2 of the blur that small-angle scattering makes.
    darkfield : visibility ratio D, 1 = no scattering.
    displacement_std : expected standard deviation of one displacement component in pixels.
    flags : uint8, bits FLAG_BOUND, FLAG_FOLD, FLAG_EDGE, FLAG_MISFIT, FLAG_PERIOD; 0 = no flag.
    transmission_measured : T / det(1 + grad u) as tracking measures it, with the light that refraction gathers.
    misfit : difference of the frame simulated again from the fields and the measured one, over the pattern, root mean
        squares in a window; made of any method's fields by :mod:`speckleflow.retrieval.consistency`.
    """

    transmission: Tensor = None  # type: ignore[assignment]
    ux: Tensor | None = None
    uy: Tensor | None = None
    darkfield: Tensor | None = None
    displacement_std: Tensor | None = None
    flags: Tensor | None = None
    transmission_measured: Tensor | None = None
    phase: Tensor | None = None
    attenuation: Tensor | None = None
    scatter_xx: Tensor | None = None
    scatter_xy: Tensor | None = None
    scatter_yy: Tensor | None = None
    misfit: Tensor | None = None

    def __post_init__(self) -> None:
        if self.transmission is None:
            if self.attenuation is None:
                raise ValueError("fields without transmission and attenuation")
            object.__setattr__(self, "transmission", torch.exp(-self.attenuation))

    def items(self) -> list[tuple[str, Tensor]]:
        """Name and tensor of every field that is present."""
        return [(f.name, v) for f in fields(self) if (v := getattr(self, f.name)) is not None]

    def map(self, function: Any) -> Fields:
        """The same fields with ``function`` applied to each tensor that is present."""
        return replace(self, **{name: function(value) for name, value in self.items()})


class Retriever(ABC):
    """One retrieval method, bound to its settings and a device.

    ``prepare`` is called once a scan, ``__call__`` once a batch. Both check their input, so that a subclass
    implements only :meth:`_prepare` and :meth:`_retrieve` on tensors of known shape.
    """

    spec: MethodSpec
    #: SHA-256 of the weight file of a method that has one
    weights_sha256: str | None = None

    def __init__(self, settings: Any, device: torch.device | str = "cpu") -> None:
        self.settings = settings
        self.device = torch.device(device)

    def prepare(self, reference: Tensor, acquisition: Acquisition | None = None) -> Any:
        """Everything that depends on the reference stack (N, y, x) and the acquisition; passed back to ``__call__``.

        Raises
        ------
        InputError
            Wrong number of axes, too few or too many positions, image too small, a value that is not finite, or an
            entry of the acquisition that the method needs and that is not known.
        """
        spec = self.spec
        if reference.ndim != 3:
            raise InputError(
                "reference stack", expected="shape (N, y, x)", found=f"shape {tuple(reference.shape)}"
            )
        n, height, width = reference.shape
        if not spec.takes(n):
            raise InputError(
                "reference stack",
                expected=f"{spec.positions} diffuser position(s) for method '{spec.name}'",
                found=f"{n}",
                hint=spec.positions_hint,
            )
        if min(height, width) < spec.min_side:
            raise InputError(
                "reference stack",
                expected=f"images of at least {spec.min_side} x {spec.min_side} pixels for '{spec.name}'",
                found=f"{height} x {width}",
            )
        _finite("reference stack", reference)
        known = (acquisition or Acquisition()).only(spec.acquisition)
        known.require(spec.needs, spec.name)
        with _enough_memory(reference):
            return self._prepare(reference.to(self.device, torch.float32), known)

    def __call__(self, sample: Tensor, state: Any) -> Fields:
        """Retrieve a batch: sample (B, N, y, x), paired with the reference position by position.

        Raises
        ------
        InputError
            The stack does not fit the reference that ``state`` was prepared from, or is not finite.
        """
        shape = self._reference_shape(state)
        if sample.ndim != 4 or tuple(sample.shape[1:]) != shape:
            raise InputError(
                "sample stack",
                expected=f"shape (B, N, y, x) = (B, {', '.join(map(str, shape))}) as in the reference stack",
                found=f"shape {tuple(sample.shape)}",
            )
        _finite("sample stack", sample)
        # a pinned stack is copied to a GPU while the host goes on
        with _enough_memory(sample):
            return self._retrieve(sample.to(self.device, torch.float32, non_blocking=True), state)

    @abstractmethod
    def _prepare(self, reference: Tensor, acquisition: Acquisition) -> Any: ...

    @abstractmethod
    def _retrieve(self, sample: Tensor, state: Any) -> Fields: ...

    @abstractmethod
    def _reference_shape(self, state: Any) -> tuple[int, int, int]:
        """(N, y, x) of the reference stack that ``state`` was prepared from."""


@contextmanager
def _enough_memory(stack: Tensor) -> Iterator[None]:
    """Turns an error of the allocator into a sentence."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise SpeckleflowError(f"{out_of_memory(stack)}; give the job more memory") from error


def _finite(name: str, stack: Tensor) -> None:
    # one sum sees every NaN and infinity, without a map of them; only an overflow makes it look again
    if not torch.isfinite(stack.sum()) and not torch.isfinite(stack).all():
        bad = int((~torch.isfinite(stack)).sum())
        raise InputError(name, expected="finite values", found=f"{bad} NaN or infinite pixel(s)")
