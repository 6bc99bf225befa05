"""SPINNet: displacement and transmission from a single diffuser position."""
