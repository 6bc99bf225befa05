"""Scalar wave optics as a differentiable forward model: shared by the wave-optical retrieval methods."""
