"""Normal equations of the UMPA model per pixel, and their solution in a window.

At a place x of the reference grid, with the sample warped by a current displacement u0, the model (Qiao et al.,
J. Synchrotron Rad., 2026, eq. 1; Zdora et al., Phys. Rev. Lett. 118, 203903, 2017) is, to first order in the
correction du,

    s_n(x + u0) - m = (T - 1) m + B rho_n - B (J^-T grad r_n) . du,     B = T D,   rho_n = r_n - m,

with m the local mean of the reference and J = 1 + grad u0 the Jacobian of x -> x + u0: linear in the four
unknowns (T - 1, B, du_x, du_y). All that the data say about them are the sums over the positions n of products
of the regressors (m, rho, r_x, r_y) with each other and with the sample: a few maps, whatever N is. A window
is then a filter of these maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speckleflow.retrieval.bspline import DERIVATIVE, PREFILTER, warp
from speckleflow.retrieval.filters import (
    Kernel,
    compose,
    filter_columns,
    filter_rows,
    filter_xy,
    gaussian,
    scaled,
)
from speckleflow.retrieval.parallel import map_rows, parallel_for, row_strips, split_images

#: order of the packed symmetric 4 x 4 matrix: (row, column) with row <= column
PACKED = tuple((i, j) for i in range(4) for j in range(i, 4))
PLACE = {pair: k for k, pair in enumerate(PACKED)} | {(j, i): k for k, (i, j) in enumerate(PACKED)}
#: Scale in pixels over which the reference is averaged to its local mean m: wide enough that the pattern of a few
#: positions averages out (an error of m is one of T, times 1 - D), narrow beside the shape of a beam.
MEAN_SIGMA = 64.0


@dataclass(frozen=True)
class Basis:
    """Regressors of a reference stack at one resolution.

    ``mean`` (y, x): local mean m; ``rho``, ``rx``, ``ry`` (N, y, x): low-passed reference minus m, and its
    derivatives; ``gram`` (10, y, x): sums over n of their products, packed as :data:`PACKED`.
    """

    mean: Tensor
    rho: Tensor
    rx: Tensor
    ry: Tensor
    gram: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, y, x)."""
        n, height, width = self.rho.shape
        return n, height, width


@dataclass(frozen=True)
class Estimate:
    """Current fields at one resolution, each (y, x): T, B = T D, displacement in pixels of that resolution."""

    t: Tensor
    b: Tensor
    ux: Tensor
    uy: Tensor


@dataclass(frozen=True)
class Moments:
    """Sums over n at each pixel for one warp.

    ``h`` (4, y, x) = sum_n regressor * (s - m), ``energy`` (y, x) = sum_n (s - m)^2, ``valid`` (y, x) = 1 where
    the ray lands inside the image, else 0.
    """

    h: Tensor
    energy: Tensor
    valid: Tensor


def make_basis(reference: Tensor, mean: Tensor, low_pass: Kernel, scale: float = 1.0) -> Basis:
    """Regressors of a reference stack (N, y, x), low-passed, with derivatives of its cubic B-spline.

    The stack is divided by ``scale``, ``mean`` (y, x) has been.
    """
    derivative = compose(DERIVATIVE, low_pass)
    n, height, width = reference.shape
    along_x = scaled(low_pass, 1 / scale)
    slope_x = scaled(derivative, 1 / scale)
    rho, rx, ry = (torch.empty_like(reference) for _ in range(3))

    def frames(k: slice) -> None:
        smooth_x = filter_columns(reference[k], along_x, "mirror")
        filter_rows(smooth_x, low_pass, "mirror", rho[k]).sub_(mean)
        filter_rows(smooth_x, derivative, "mirror", ry[k])
        filter_rows(filter_columns(reference[k], slope_x, "mirror"), low_pass, "mirror", rx[k])

    parallel_for(frames, split_images(n, reference.device))
    gram = torch.empty(10, height, width, device=reference.device)

    def products(rows: slice) -> None:
        parts = (None, rho[:, rows], rx[:, rows], ry[:, rows])
        for k, (i, j) in enumerate(PACKED):
            left, right, m = parts[i], parts[j], mean[rows]
            if left is None:
                gram[k, rows] = n * m * m if right is None else m * right.sum(0)
            elif right is not None:
                gram[k, rows] = (left * right).sum(0)

    parallel_for(products, row_strips(n, height, width, reference.device))
    return Basis(mean, rho, rx, ry, gram)


def spline_coefficients(stack: Tensor, low_pass: Kernel, scale: float = 1.0) -> Tensor:
    """Cubic B-spline coefficients of the low-passed stack, divided by ``scale``."""
    kernel = compose(PREFILTER, low_pass)
    return filter_xy(stack, scaled(kernel, 1 / scale), kernel, "mirror")


def measure(coefficients: Tensor, basis: Basis, ux: Tensor, uy: Tensor) -> Moments:
    """Warp the sample by (ux, uy) and sum its products with the regressors."""
    n, height, width = basis.shape
    device = ux.device
    h = torch.empty(4, height, width, device=device)
    energy = torch.empty(height, width, device=device)
    valid = torch.empty(height, width, device=device)
    columns = torch.arange(width, device=device, dtype=torch.float32)

    def strip(rows: slice) -> None:
        x = columns + ux[rows]
        y = torch.arange(rows.start, rows.stop, device=device, dtype=torch.float32)[:, None] + uy[rows]
        valid[rows] = (x >= 1) & (x <= width - 2) & (y >= 1) & (y <= height - 2)
        mean = basis.mean[rows]
        s = warp(coefficients, x, y).sub_(mean)
        h[0, rows] = mean * s.sum(0)
        h[1, rows] = (basis.rho[:, rows] * s).sum(0)
        h[2, rows] = (basis.rx[:, rows] * s).sum(0)
        h[3, rows] = (basis.ry[:, rows] * s).sum(0)
        energy[rows] = s.square_().sum(0)

    parallel_for(strip, row_strips(n, height, width, device))
    return Moments(h, energy, valid)


def apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """Packed symmetric (10, y, x) times (4, y, x)."""
    (out,) = map_rows(_apply, (vector,), matrix, vector)
    return out


def _apply(matrix: Tensor, vector: Tensor) -> tuple[Tensor]:
    out = torch.empty_like(vector)
    for i in range(4):
        torch.mul(matrix[PLACE[i, 0]], vector[0], out=out[i])
        for j in range(1, 4):
            out[i].addcmul_(matrix[PLACE[i, j]], vector[j])
    return (out,)


def solve(matrix: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Solve the packed 4 x 4 systems (10, y, x) for (4, y, x) by LDL^T; also the inverse's diagonal (4, y, x).

    The matrix must be positive definite (a ridge added by the caller sees to that).
    """
    solution, diagonal = map_rows(_solve, (vectors, vectors), matrix, vectors)
    return solution, diagonal


def _solve(matrix: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    d: list[Tensor] = []
    low: dict[tuple[int, int], Tensor] = {}
    for j in range(4):
        pivot = matrix[PLACE[j, j]].clone()
        for k in range(j):
            pivot.addcmul_(low[j, k] * low[j, k], d[k], value=-1)
        d.append(pivot)
        for i in range(j + 1, 4):
            entry = matrix[PLACE[i, j]].clone()
            for k in range(j):
                entry.addcmul_(low[i, k] * low[j, k], d[k], value=-1)
            low[i, j] = entry.div_(pivot)
    inverse = [1.0 / pivot for pivot in d]
    # rows of L^-1: x = L^-T D^-1 L^-1 v, and (A^-1)_ii = sum_k (L^-1)_ki^2 / d_k
    unit: dict[tuple[int, int], Tensor] = {}
    for j in range(4):
        for i in range(j + 1, 4):
            entry = -low[i, j]
            for k in range(j + 1, i):
                entry = entry - low[i, k] * unit[k, j]
            unit[i, j] = entry
    y = []
    for i in range(4):
        value = vectors[i].clone()
        for k in range(i):
            value.addcmul_(unit[i, k], vectors[k])
        y.append(value.mul_(inverse[i]))
    x, diagonal = torch.empty_like(vectors), torch.empty_like(vectors)
    for i in range(4):
        x[i], diagonal[i] = y[i], inverse[i]
        for k in range(i + 1, 4):
            x[i].addcmul_(unit[k, i], y[k])
            diagonal[i].addcmul_(unit[k, i] * unit[k, i], inverse[k])
    return x, diagonal


def local_mean(reference: Tensor, sigma: float) -> Tensor:
    """Local mean m (y, x) of a reference stack (N, y, x): over positions and a Gaussian of ``sigma`` pixels.

    The speckle pattern averages out over both; what stays is the shape of the beam.
    """
    kernel = gaussian(sigma, truncate=3.0)
    height, width = reference.shape[1:]
    smooth = filter_xy(reference.mean(0), kernel, kernel, "zero")
    # what the filter makes of ones, row by row and column by column: what it lost beyond the borders
    ones = reference.new_ones(max(height, width), 1)
    along_y = filter_rows(ones[:height], kernel, "zero")
    along_x = filter_rows(ones[:width], kernel, "zero")
    return smooth / (along_y * along_x.T)
