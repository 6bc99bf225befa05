"""CADE: single-shot displacement by StrainNet-f."""
