"""Scaling of N diffuser positions to the N_net frames of the published network.

Qiao et al., J. Synchrotron Rad. (2026), sec. 3.2.
"""

from __future__ import annotations

from typing import Literal

import torch
from scipy.interpolate import make_interp_spline
from torch import Tensor

Scaling = Literal["nearest", "linear", "spline"]


def scaling_matrix(n: int, n_net: int, how: Scaling) -> Tensor:
    """Weights (n_net, n) that resample n frames to ``n_net``: out = weights @ in.

    The first ``n_net`` frames when n is larger (choosing others would change the step between frames);
    else interpolation along the scan with the first and last frame kept in place. ``spline`` is cubic, of
    lower order for fewer than four frames.
    """
    if n >= n_net:
        return torch.eye(n)[:n_net]
    if how == "nearest":  # block by block, as an image is enlarged
        return torch.eye(n)[(torch.arange(n_net) * n) // n_net]
    position = torch.linspace(0, n - 1, n_net, dtype=torch.float64)
    order = min(3 if how == "spline" else 1, n - 1)
    spline = make_interp_spline(torch.arange(n).numpy(), torch.eye(n, dtype=torch.float64).numpy(), k=order)
    return torch.from_numpy(spline(position.numpy())).float()


def scale_positions(stack: Tensor, n_net: int, how: Scaling) -> Tensor:
    """A stack (..., N, y, x) with N scaled to ``n_net`` frames."""
    n = stack.shape[-3]
    if n == n_net:
        return stack
    weights = scaling_matrix(n, n_net, how).to(stack)
    return torch.einsum("mn,...nyx->...myx", weights, stack)
