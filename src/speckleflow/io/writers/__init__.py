"""Volumes in the formats of other programs: one module a format, named in :mod:`speckleflow.io.writers.registry`."""
