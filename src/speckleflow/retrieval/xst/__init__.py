"""XST: displacement by matching windows of a single frame."""
