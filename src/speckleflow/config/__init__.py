"""Typed configuration: models, reading, and the documentation generated from them."""

from speckleflow.config.load import load_config, load_scans, parse_config
from speckleflow.config.models import Config, ScanConfig

__all__ = ["Config", "ScanConfig", "load_config", "load_scans", "parse_config"]
