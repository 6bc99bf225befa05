"""Tests that the package holds its parts to, for those of other packages too; needs pytest.

class TestMine(MethodContract):
    method = "mine"
"""

from speckleflow.testing.method import MethodContract, Tolerance

__all__ = ["MethodContract", "Tolerance"]
