"""What the terminal shows of a manifest."""

from __future__ import annotations

import pytest

from speckleflow.scan.geometry import ScanGeometry
from speckleflow.scan.table import distance_text


@pytest.mark.parametrize(
    ("distance_m", "magnification", "text"),
    [
        (0.5, 1.0, "0.5 m"),
        (None, 1.0, "not given"),
        (0.5, 4.0, "0.5 m, 0.125 m in effect (magnification 4)"),
        (None, 4.0, "not given (magnification 4)"),
    ],
)
def test_distance_with_and_without_magnification(distance_m, magnification, text):
    assert distance_text(ScanGeometry(1.0, None, distance_m, magnification)) == text
