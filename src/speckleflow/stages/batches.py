"""How many projections a retrieval job works on at once; known to the plan, which must not import torch."""

from __future__ import annotations

#: Corrected frames of one batch in bytes: enough to keep the threads busy, little beside a job's memory.
BATCH_BYTES = 32e6


def batch_size(positions: int, rows: int, columns: int) -> int:
    """Projections of one batch."""
    return max(1, int(BATCH_BYTES // (4 * positions * rows * columns)))
