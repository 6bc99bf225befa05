"""Absorption: transmission of a scan without a diffuser."""
