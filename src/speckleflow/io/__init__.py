"""Readers, writers and atomic files. Knows formats, knows no physics."""
