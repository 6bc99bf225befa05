"""Which method ``auto`` stands for; imports no torch."""

from __future__ import annotations

#: positions from which the network's phase error is below umpa's in every family of scenes (benchmarks/families.md)
NETWORK_FROM = 2


def chosen(positions: int) -> str:
    """Name of the method for a number of diffuser positions.

    With one position ``spinnet`` is nearer to the phase than ``umpa``, but it gives no dark field: that choice is left
    to the user.
    """
    return "espinnet" if positions >= NETWORK_FROM else "umpa"
