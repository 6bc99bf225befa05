"""Scalars from a random generator."""

from __future__ import annotations

import math

import torch


class Draw:
    """Scalars from ``generator``, which may live on any device."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        unit = torch.rand((), generator=self.generator, device=self.generator.device)
        return low + (high - low) * float(unit)

    def log_uniform(self, low: float, high: float) -> float:
        """Uniform in the logarithm."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def integer(self, low: int, high: int) -> int:
        """Uniform in low, ..., high - 1."""
        return int(torch.randint(low, high, (), generator=self.generator, device=self.generator.device))

    def normal(self) -> float:
        """Normal, of standard deviation 1."""
        return float(torch.randn((), generator=self.generator, device=self.generator.device))

    def chance(self, share: float) -> bool:
        """True in this share of the draws."""
        return self.uniform(0, 1) < share
