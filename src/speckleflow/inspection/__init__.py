"""Inspection: everything that can be wrong with raw data is found before hours of work are spent."""
