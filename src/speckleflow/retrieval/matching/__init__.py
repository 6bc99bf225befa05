"""Template matching: zero-mean normalised correlation over all displacements of a search range, and its peak."""
