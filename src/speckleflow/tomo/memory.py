"""Memory of a reconstruction job, predicted before it is started; needs no backend installed."""

from __future__ import annotations

from speckleflow.errors import ConfigError

#: Python with numpy, scipy, h5py and a backend: 76 to 94 MB as measured.
INTERPRETER_BYTES = 100e6


def slab_memory_bytes(
    rows: int, angles: int, columns: int, backend: str = "fourier", threads: int = 2
) -> int:
    """Peak memory in bytes of a job that reconstructs ``rows`` rows of one contrast after the other.

    Linear in the rows, whatever the height of the scan: retrieved values, line integrals and sinograms
    (3 arrays), slices in both units (2 arrays), and what the backend holds, which does not depend on the
    rows. Never all at once, so that this is 1.1 to 1.4 times what was measured; for a rotation axis near the
    middle (towards the edge a backend holds up to half as much again).

    Raises
    ------
    ConfigError
        Unknown backend.
    """
    data = 3 * 4 * rows * angles * columns + 2 * 4 * rows * columns**2
    working = _working_bytes(angles, columns, backend, threads)
    return int(INTERPRETER_BYTES + data + working)


def rows_that_fit(
    memory_bytes: float, angles: int, columns: int, backend: str = "fourier", threads: int = 2
) -> int:
    """The most rows of a slab that stay within ``memory_bytes``; at least 1."""
    one = slab_memory_bytes(1, angles, columns, backend, threads)
    two = slab_memory_bytes(2, angles, columns, backend, threads)
    return max(1, 1 + int((memory_bytes - one) // (two - one)))


def _working_bytes(angles: int, columns: int, backend: str, threads: int) -> float:
    """What a backend holds besides sinograms and slices; the arrays are those of its module."""
    line = 8.0 * angles * (columns + 1)  # spectra of one sinogram, padded to twice the columns
    if backend == "fourier":
        kept = 1 + 2 + 2  # strengths, two coordinates of both signs, finufft's order of the points
        pair = 5 * line + 8 * columns**2 + 8 * (1.25 * columns) ** 2  # spectra, packed; modes, fine grid
        return kept * line + threads * pair
    if backend == "astra":
        return 3 * line + 8.0 * columns**2
    if backend == "tomopy":
        padded = 1 << (2 * columns - 1).bit_length()
        return threads * (4 * 4.0 * angles * padded + 16.0 * columns**2 + 8.0 * padded**2)
    raise ConfigError(f"backend must be fourier, astra or tomopy, found '{backend}'")
