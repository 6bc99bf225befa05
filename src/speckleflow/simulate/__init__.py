"""Simulated experiments with known truth: modulators, phantoms, wave optics, whole beamtime files."""
