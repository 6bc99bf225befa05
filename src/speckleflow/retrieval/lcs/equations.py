"""The normal equations of LCS at every pixel, and their solution in closed form.

Quenot et al., Optica 8, 1412 (2021): to first order in the displacement the N sample frames s_n and reference frames
r_n obey r_n = s_n / T + u . grad r_n, linear in (1/T, u_x, u_y). Here s_n is the sample warped by the displacement so
far, and u its correction. With the visibility D as a fourth unknown, m the local mean of the reference and
rho_n = r_n - m, the equation is m = s_n / T - D rho_n + D u . grad r_n, linear in (1/T, D, D u_x, D u_y).

All sums over n follow from those that :mod:`..normal` measures; a window is a filter of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speckleflow.retrieval.bspline import DERIVATIVE
from speckleflow.retrieval.filters import filter_columns, filter_rows
from speckleflow.retrieval.normal import PLACE, Basis, Moments

#: diffuser positions that the unknowns of each kind of dark field need
LEAST_POSITIONS = {"none": 3, "scalar": 4, "directional": 7}


@dataclass(frozen=True)
class Equations:
    """Sums over the positions of products: of the regressors with each other, with the target, and of the target.

    ``matrix`` (p (p + 1) / 2, y, x): rows of the upper triangle one after the other; ``right`` (p, y, x); ``square``
    (y, x). The unknowns are 1/T, then D or the covariance of the blur where they are, then u_x and u_y (times D).
    """

    matrix: Tensor
    right: Tensor
    square: Tensor

    def filtered(self, smooth: object) -> Equations:
        """The equations of windows; ``smooth`` filters maps (k, y, x)."""
        maps = torch.cat((self.matrix, self.right, self.square[None]))
        maps = smooth(maps)  # type: ignore[operator]
        triangle, unknowns = len(self.matrix), len(self.right)
        return Equations(maps[:triangle], maps[triangle : triangle + unknowns], maps[-1])


def equations(moments: Moments, basis: Basis, darkfield: bool) -> Equations:
    """Of every pixel, from the sums of the warped sample with the reference."""
    n, m, gram = basis.shape[0], basis.mean, basis.gram
    # sums of rho, r_x, r_y, of the sample, and of its products
    rho, rx, ry = (gram[PLACE[0, k]] / m for k in (1, 2, 3))
    sample = moments.h[0] / m + n * m
    squares = moments.energy + 2 * m * sample - n * m * m
    with_rho, with_x, with_y = (moments.h[k] + m * total for k, total in ((1, rho), (2, rx), (3, ry)))
    xx, xy, yy = gram[PLACE[2, 2]], gram[PLACE[2, 3]], gram[PLACE[3, 3]]
    rho_x, rho_y, rho_rho = gram[PLACE[1, 2]], gram[PLACE[1, 3]], gram[PLACE[1, 1]]
    if not darkfield:
        matrix = torch.stack((squares, with_x, with_y, xx, xy, yy))
        right = torch.stack((with_rho + m * sample, rho_x + m * rx, rho_y + m * ry))
        return Equations(matrix, right, rho_rho + 2 * m * rho + n * m * m)
    matrix = torch.stack((squares, -with_rho, with_x, with_y, rho_rho, -rho_x, -rho_y, xx, xy, yy))
    right = m * torch.stack((sample, -rho, rx, ry))
    return Equations(matrix, right, n * m * m)


def directional_equations(sample: Tensor, basis: Basis) -> Equations:
    """Of every pixel of the warped sample (N, y, x), with the covariance C of the blur by scattering as unknowns.

    A pattern that is displaced and blurred a little is r - u . grad r + C_xx r_xx / 2 + C_xy r_xy + C_yy r_yy / 2, so
    that r_n = s_n / T - C_xx r_xx / 2 - C_xy r_xy - C_yy r_yy / 2 + u . grad r_n.
    """
    xx = filter_columns(basis.rx, DERIVATIVE, "mirror")
    xy = filter_columns(basis.ry, DERIVATIVE, "mirror")
    yy = filter_rows(basis.ry, DERIVATIVE, "mirror")
    columns = [sample, -xx / 2, -xy, -yy / 2, basis.rx, basis.ry]
    target = basis.rho + basis.mean
    count = len(columns)
    pairs = [(i, j) for i in range(count) for j in range(i, count)]
    matrix = torch.stack([(columns[i] * columns[j]).sum(0) for i, j in pairs])
    right = torch.stack([(column * target).sum(0) for column in columns])
    return Equations(matrix, right, target.square().sum(0))


def solve(system: Equations, ridge: float = 1e-6) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """Unknowns, squares that are left, and the diagonal of the inverse matrix, by LDL^T; each (y, x).

    ``ridge`` is added to the diagonal relative to itself, so that a pixel without pattern has an answer.
    """
    p = len(system.right)
    place = {pair: k for k, pair in enumerate((i, j) for i in range(p) for j in range(i, p))}
    low: list[list[Tensor]] = []
    pivots: list[Tensor] = []
    for i in range(p):
        row: list[Tensor] = []
        for j in range(i):
            entry = system.matrix[place[j, i]]
            for k in range(j):
                entry = entry - row[k] * low[j][k] * pivots[k]
            row.append(entry / pivots[j])
        diagonal = system.matrix[place[i, i]]
        floor = ridge * diagonal + 1e-12
        pivot = diagonal + floor
        for k in range(i):
            pivot = pivot - row[k].square() * pivots[k]
        low.append(row)
        pivots.append(torch.maximum(pivot, floor))
    # columns of the inverse of L: the solution is L^-T D^-1 L^-1 b
    forward: list[Tensor] = []
    for i in range(p):
        value = system.right[i]
        for k in range(i):
            value = value - low[i][k] * forward[k]
        forward.append(value)
    left = system.square - sum(f.square() / d for f, d in zip(forward, pivots, strict=True))
    unknowns = [f / d for f, d in zip(forward, pivots, strict=True)]
    for i in reversed(range(p)):
        for k in range(i):
            unknowns[k] = unknowns[k] - low[i][k] * unknowns[i]
    return unknowns, left.clamp_min(0), _inverse_diagonal(low, pivots)


def _inverse_diagonal(low: list[list[Tensor]], pivots: list[Tensor]) -> list[Tensor]:
    """(A^-1)_ii = sum over k of (L^-1)_ki^2 / d_k."""
    p = len(pivots)
    diagonal = [1 / pivot for pivot in pivots]
    for i in range(p):
        column: dict[int, Tensor] = {}
        for k in range(i + 1, p):
            entry = -low[k][i]
            for j in range(i + 1, k):
                entry = entry - low[k][j] * column[j]
            column[k] = entry
            diagonal[i] = diagonal[i] + entry.square() / pivots[k]
    return diagonal
