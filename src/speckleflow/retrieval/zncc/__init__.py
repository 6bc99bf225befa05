"""ZNCC: displacement by matching windows of a single sample frame in the reference, with a Gaussian peak."""
