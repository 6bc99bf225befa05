"""The report of a scan: one HTML file, and its pictures."""

from speckleflow.report.data import (
    AxisSearch,
    Picture,
    Quality,
    ReportData,
    Sinogram,
    Slices,
    Timing,
    load_timings,
    orthogonal_slices,
    spread,
)
from speckleflow.report.page import build_report
from speckleflow.report.pictures import picture_fields
from speckleflow.report.truth import TruthTable, evaluate_truth

__all__ = [
    "AxisSearch",
    "Picture",
    "Quality",
    "ReportData",
    "Sinogram",
    "Slices",
    "Timing",
    "TruthTable",
    "build_report",
    "evaluate_truth",
    "load_timings",
    "orthogonal_slices",
    "picture_fields",
    "spread",
]
