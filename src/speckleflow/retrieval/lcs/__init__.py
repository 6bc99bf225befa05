"""LCS: transmission and displacement of every pixel by least squares over the diffuser positions."""
