"""XSVT: displacement by matching the vector of each pixel over the diffuser positions."""
