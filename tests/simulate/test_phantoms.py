"""Phantoms: projections agree with their own volumes; the demo is what it claims to be."""

from typing import get_args

import numpy as np
import pytest
import torch

from speckleflow.config.models import Simulate
from speckleflow.errors import ConfigError
from speckleflow.simulate.forward import project
from speckleflow.simulate.materials import material
from speckleflow.simulate.optics import Beam
from speckleflow.simulate.phantoms import PHANTOMS, phantom
from speckleflow.simulate.warp import jacobian

ROWS, COLUMNS, PIXEL, ENERGY = 128, 160, 6.5e-6, 20.0
DEMO = Simulate()


def fields(name, angle, beam=None, offset=0.0):
    beam = beam or Beam(DEMO.energy_kev, DEMO.pixel_size_um * 1e-6, DEMO.distance_m)
    centre = ((ROWS - 1) / 2, (COLUMNS - 1) / 2 + offset)
    return project(phantom(name, PIXEL, ROWS, COLUMNS), beam, angle, centre, (4 * ROWS, 4 * COLUMNS), 4)


@pytest.fixture(scope="module")
def demo_voxels():
    return phantom("demo", PIXEL, ROWS, COLUMNS).voxels(ENERGY, PIXEL, ROWS, COLUMNS)


@pytest.mark.parametrize(("angle", "axis", "flip"), [(0.0, 1, False), (90.0, 2, False), (180.0, 1, True)])
def test_volume_summed_along_the_beam_is_the_projection(demo_voxels, angle, axis, flip):
    # at 0 degrees column x of the slice lands on detector column x, at 90 row y does; 180 mirrors
    demo_volumes, _ = demo_voxels
    seen = fields("demo", angle).binned(4, 0)
    wavenumber = Beam(ENERGY, PIXEL, 1.0).wavenumber_m
    for volume, projected in (
        (demo_volumes.delta, -seen.phase / wavenumber),
        (demo_volumes.mu, -seen.transmission.log()),
        (demo_volumes.extinction, -seen.darkfield.log()),
    ):
        summed = volume.sum(axis) * PIXEL
        summed = summed.flip(-1) if flip else summed
        # at an edge the mean of exp is not the exp of the mean, and a voxel's share is counted on 125 points
        assert float((summed - projected).abs().max()) < 0.02 * float(summed.max())
        assert float((summed - projected).mean().abs()) < 5e-4 * float(summed.max())


def test_volumes_hold_the_materials(demo_voxels):
    demo_volumes, masks = demo_voxels
    assert set(masks) == {"PVC", "bone mineral", "aluminium", "scattering PVC"}
    assert int(sum(m.int() for m in masks.values()).max()) == 1  # no voxel belongs to two regions
    for region, name in (("PVC", "PVC"), ("bone mineral", "hydroxyapatite"), ("aluminium", "aluminium")):
        inside = masks[region]
        assert float(demo_volumes.delta[inside].median()) == pytest.approx(
            material(name).delta(ENERGY), rel=1e-5
        )
        assert float(demo_volumes.mu[inside].median()) == pytest.approx(material(name).mu(ENERGY), rel=1e-5)
        assert float(demo_volumes.extinction[inside].median()) == 0
    assert int(masks["bone mineral"].sum()) == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.02)


def test_slabs_are_the_volume(demo_voxels):
    demo = phantom("demo", PIXEL, ROWS, COLUMNS)
    for first, last in ((0, 3), (20, 27), (63, 64), (118, 128)):
        matter, masks = demo.voxels(ENERGY, PIXEL, ROWS, COLUMNS, first, last)
        for part, whole in zip(
            (*matter, *masks.values()), (*demo_voxels[0], *demo_voxels[1].values()), strict=True
        ):
            assert torch.equal(part, whole[first:last])


def test_a_voxel_on_a_surface_holds_its_share():
    volume = phantom("sphere", PIXEL, ROWS, COLUMNS).voxels(ENERGY, PIXEL, ROWS, COLUMNS)[0].delta
    delta = material("PMMA").delta(ENERGY)
    assert float(volume.double().sum()) == pytest.approx(delta * 4 / 3 * np.pi * 44**3, rel=1e-4)
    line = (
        volume[ROWS // 2, COLUMNS // 2] / delta
    )  # half a voxel off the middle: radius 44 ends inside a voxel
    edge = np.sqrt(44**2 - 0.5) + 79.5
    assert float(line.sum()) == pytest.approx(2 * (edge - 79.5), abs=0.1)


@pytest.mark.parametrize("name", PHANTOMS)
def test_immersed_solids_lie_inside_and_apart(name):
    solids = phantom(name, PIXEL, ROWS, COLUMNS).solids
    parents = {s.key: s for s in solids if s.key}
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(400, 3, generator=generator, dtype=torch.float64)
    direction /= direction.norm(dim=1, keepdim=True)
    inner = [s for s in solids if s.inside]
    for solid in inner:
        shape = torch.from_numpy(solid.quadrics[0])
        radius = 1 / torch.einsum("ki,ij,kj->k", direction, shape, direction).sqrt()
        x, y, z = (torch.tensor(solid.centre, dtype=torch.float64) + radius[:, None] * direction).T
        assert parents[solid.inside].contains(x, y, z).all()
        assert not any(other.contains(x, y, z).any() for other in inner if other is not solid)


def test_the_demo_is_honest():
    """Solids that absorb 10-40 %, edges of 1-2 px, no crossing rays, D about 0.5, air on both sides."""
    solids = phantom("demo", PIXEL, ROWS, COLUMNS).solids
    for solid in solids:
        longest = 2 * max(solid.reach(e) for e in ((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0)))
        assert 0.1 < 1 - np.exp(-material(solid.material).mu(ENERGY) * longest) < 0.4
    assert len({s.material for s in solids}) == 3
    for angle in (0.0, 34.0, 66.0, 90.0, 140.0, 172.0):
        seen = fields("demo", angle, offset=DEMO.axis_offset_px).binned(4, 0)
        assert 1.0 < float(seen.ux.hypot(seen.uy).max()) < 2.0
        assert float(jacobian(seen.ux, seen.uy).min()) > 0.2
        assert 0.4 < float(seen.darkfield.min()) < 0.6
        for margin in (seen.phase[:, :10], seen.phase[:, -10:], seen.phase[:4], seen.phase[-4:]):
            assert not margin.any()


def test_a_phantom_scales_with_its_detector():
    small = phantom("sphere", 2e-6, 64, 80).solids[0]
    assert small.reach((1.0, 0.0, 0.0)) == pytest.approx(22 * 2e-6)


def test_unknown_phantom_names_the_known():
    with pytest.raises(ConfigError, match=r"expected one of demo, sphere, foam, found 'tooth'"):
        phantom("tooth", PIXEL, ROWS, COLUMNS)


def test_the_configuration_knows_every_phantom():
    # foaming changes with time: it is no solid phantom (simulate/beamtime.py)
    assert get_args(Simulate.model_fields["phantom"].annotation) == (*PHANTOMS, "foaming")
