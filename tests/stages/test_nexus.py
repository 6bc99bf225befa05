"""Results as NeXus viewers see them: silx follows ``default`` to a signal with axes in micrometres."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from speckleflow.io.projections import pack_projections
from speckleflow.io.results import IDENTITY, PROVENANCE, identity_of

io = pytest.importorskip("silx.io", reason="reads NeXus as silx view does (test extra)")
nxdata = pytest.importorskip("silx.io.nxdata")

PIXEL_UM, ROWS, COLUMNS = 1.3, 24, 48


def plots(file) -> dict[str, object]:
    """Every NXdata of the entry as silx understands it."""
    groups = {name: item for name, item in file["entry"].items() if item.attrs.get("NX_class") == "NXdata"}
    return {name: nxdata.NXdata(group) for name, group in groups.items()}


def test_a_volume_opens_at_a_click(finished_chain):
    path = finished_chain.path("volumes.h5")
    with io.open(str(path)) as file, h5py.File(path) as own:
        shown = nxdata.get_default(file)
        assert shown.is_valid, shown.issues
        assert np.array_equal(shown.signal[()], own["delta"][()])
        assert [name.split()[0] for name in shown.axes_names] == ["z", "y", "x"]
        for axis, length in zip(shown.axes, (ROWS, COLUMNS, COLUMNS), strict=True):
            assert axis.attrs["units"] == "um"
            assert axis[()] == pytest.approx(PIXEL_UM * np.arange(length), rel=1e-12)
        found = plots(file)
        assert set(found) == {"data", "delta", "mu", "darkfield"}
        for name, plot in found.items():
            assert plot.is_valid, (name, plot.issues)
            assert np.array_equal(plot.signal[()], own["delta" if name == "data" else name][()])
        assert file["entry/definition"][()] == b"NXtomoproc"
        assert file["entry/sample/name"][()] == b"a"
        assert file["entry/instrument/monochromator/energy"][()] == 20.0
        raw = [name.decode() for name in file["entry/reconstruction/parameters/raw_file"][()]]
        assert len(raw) == 6
        assert any(name.endswith("raw/a/sample_01.h5") for name in raw)


def test_projections_open_at_a_click(finished_chain, tmp_path):
    pack_projections(finished_chain.path("projections.h5"), tmp_path / "packed.h5")
    for path in (finished_chain.path("projections.h5"), tmp_path / "packed.h5"):
        with io.open(str(path)) as file, h5py.File(path) as own:
            shown = nxdata.get_default(file)
            assert shown.is_valid, shown.issues
            assert np.array_equal(shown.signal[()], own["phase"][()])
            assert np.abs(shown.signal[()]).max() > 0
            angle, y, x = shown.axes
            assert angle.attrs["units"] == "deg"
            assert np.array_equal(angle[()], own["angle_deg"][()])
            assert y[()] == pytest.approx(PIXEL_UM * np.arange(ROWS))
            assert x[()] == pytest.approx(PIXEL_UM * np.arange(COLUMNS))
            found = plots(file)
            assert set(found) == {
                "phase",
                "transmission",
                "darkfield",
                "ux",
                "uy",
                "displacement_std",
                "misfit",
            }
            assert all(plot.is_valid for plot in found.values())


def test_the_groups_are_links_and_no_copies(finished_chain):
    for name, target in (("volumes.h5", "delta"), ("projections.h5", "phase")):
        with h5py.File(finished_chain.path(name)) as file:
            assert file[f"entry/{target}/{target}"].id == file[target].id
            link = file["entry"][target].get(target, getlink=True)
            assert isinstance(link, h5py.SoftLink)
            axes: list[int] = []  # links are not followed: what is left are words and coordinates
            file["entry"].visititems(lambda _, item, axes=axes: axes.append(getattr(item, "ndim", 0)))
            assert max(axes) == 1


def test_the_date_is_no_part_of_the_identity_and_a_link_is(finished_chain, tmp_path):
    """Results made at different hours are the same; a link turned to other data is noticed."""
    path = tmp_path / "v.h5"
    path.write_bytes(finished_chain.path("volumes.h5").read_bytes())
    with h5py.File(path, "r+", locking=False) as file:
        stated = file.attrs[IDENTITY]
        assert file["entry/reconstruction/date"][()] == b"2023-11-14T22:13:20+00:00"
        del file["entry/reconstruction/date"]
        file["entry/reconstruction/date"] = "2030-01-01T00:00:00+00:00"
        assert file[PROVENANCE].attrs["stage"] == "volume"
        file.flush()
        assert identity_of(file, path) == stated
        del file["entry/data/data"]
        file["entry/data/data"] = h5py.SoftLink("/mu")
        file.flush()
        assert identity_of(file, path) != stated
