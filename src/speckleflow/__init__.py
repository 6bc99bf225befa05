"""speckleflow: from raw modulated-pattern X-ray images to quantitative 3-D volumes."""

__version__ = "0.1.0"
