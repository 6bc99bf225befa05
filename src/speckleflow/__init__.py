"""speckleflow: from raw modulated-pattern X-ray images to quantitative 3-D volumes."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("speckleflow")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
