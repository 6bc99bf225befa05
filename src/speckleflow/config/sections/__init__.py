"""Sections of the configuration, one a module; :mod:`speckleflow.config.models` puts them together."""
