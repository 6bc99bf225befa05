"""Simulated X-ray modulation experiments with known truth: modulators, phantoms, wave optics, beamtime files."""
