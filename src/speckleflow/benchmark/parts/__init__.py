"""The parts of the benchmark: each module has ``PARTS``."""
