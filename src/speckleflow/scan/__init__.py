"""A scan: its settings, the manifest of its raw data, the schema of its results, and its warnings."""
