"""Template matching: correlations against the formula, peaks against known surfaces, fields against known scenes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speckleflow.config import parse_config
from speckleflow.errors import ConfigError
from speckleflow.retrieval.matching.correlation import correlations, windows
from speckleflow.retrieval.matching.peak import find_peak
from speckleflow.retrieval.registry import spec_of
from speckleflow.retrieval.single import retrieve_stack
from speckleflow.testing.patterns import make_pair, rms

SCENE = {
    "ux": lambda x, y: 1.3 * np.sin(x / 17 + y / 29) + 0.4,
    "uy": lambda x, y: -0.9 * np.cos(x / 23 - y / 19),
    "transmission": lambda x, y: 0.7 + 0.2 * np.sin(x / 31 + 1) * np.cos(y / 27),
    "darkfield": lambda x, y: 0.8 + 0.15 * np.sin(x / 25),
    "conserve": True,
}


@pytest.mark.parametrize(("positions", "side", "reach"), [(1, 5, 2), (4, 1, 3), (3, 3, 1)])
def test_a_correlation_is_that_of_the_formula(positions, side, reach):
    """Pearson's coefficient of the two windows of a pixel and displacement, over frames and pixels."""
    rng = np.random.default_rng(positions)
    one, other = 1 + 0.2 * rng.normal(size=(2, positions, 19, 23)).astype(np.float32)
    half = side // 2
    found = correlations(
        windows(torch.from_numpy(one), side, half),
        windows(torch.from_numpy(other), side, half + reach),
        side,
        reach,
    )
    assert found.shape == ((2 * reach + 1) ** 2, 19, 23)
    for y, x, dy, dx in ((9, 11, 0, 0), (7, 12, -reach, 1), (12, 8, reach - 1, -reach)):
        near = np.s_[:, y - half : y + half + 1, x - half : x + half + 1]
        far = np.s_[:, y + dy - half : y + dy + half + 1, x + dx - half : x + dx + half + 1]
        expected = np.corrcoef(one[near].ravel(), other[far].ravel())[0, 1]
        assert float(found[(dy + reach) * (2 * reach + 1) + dx + reach, y, x]) == pytest.approx(
            expected, abs=1e-4
        )


@pytest.mark.parametrize("subpixel", ["paraboloid", "gaussian"])
def test_the_peak_of_a_surface_of_its_own_kind_is_exact(subpixel):
    reach, px, py = 4, 1.3, -2.4
    j, i = torch.meshgrid(torch.arange(-4.0, 5.0), torch.arange(-4.0, 5.0), indexing="ij")
    bend = (i - px) ** 2 / 9 + (j - py) ** 2 / 14
    # the axes of the Gaussian are those of the image; a paraboloid may lie askew
    surface = torch.exp(-bend) if subpixel == "gaussian" else 0.9 - bend - 0.03 * (i - px) * (j - py)
    volume = surface.reshape(-1, 1, 1).expand(-1, 2, 3)
    peak = find_peak(volume, reach, subpixel)
    assert torch.allclose(peak.ux, torch.tensor(px), atol=1e-4)
    assert torch.allclose(peak.uy, torch.tensor(py), atol=1e-4)
    assert not peak.bound.any()
    if subpixel == "paraboloid":
        assert torch.allclose(peak.curvature_x, torch.tensor(2 / 9), atol=1e-5)
        assert torch.allclose(peak.curvature_y, torch.tensor(2 / 14), atol=1e-5)


def test_a_peak_at_the_end_of_the_range_is_a_bound():
    i = torch.arange(-2.0, 3.0).expand(5, 5)
    peak = find_peak((0.5 + 0.1 * i).reshape(-1, 1, 1), 2, "paraboloid")
    assert bool(peak.bound.all())
    assert float(peak.ux) <= 3


#: method, positions, and twice the measured error of u, T and D. Measured with the defaults:
#: xst 0.124, 0.119 px, 0.019, 0.052; zncc 0.152, 0.155, 0.018, 0.052; xsvt (6 positions) 0.067, 0.068, 0.012, 0.019.
ERRORS = [("xst", 1, 0.25, 0.04, 0.1), ("zncc", 1, 0.31, 0.04, 0.1), ("xsvt", 6, 0.14, 0.025, 0.04)]


@pytest.mark.parametrize(("method", "positions", "u", "t", "d"), ERRORS)
def test_fields_of_a_wavy_scene(method, positions, u, t, d):
    """On the reference grid, with all three contrasts; signs as in the forward model."""
    pair = make_pair((112, 128), positions, **SCENE)
    found = retrieve_stack(pair.reference, pair.sample, method)
    assert rms(found.ux, pair.ux, 16) < u
    assert rms(found.uy, pair.uy, 16) < u
    assert rms(found.transmission, pair.transmission, 16) < t
    assert rms(found.darkfield, pair.darkfield, 16) < d
    assert np.corrcoef(found.ux[0, 16:-16, 16:-16].ravel(), pair.ux[16:-16, 16:-16].ravel())[0, 1] > 0.97
    error = torch.stack((found.ux[0] - torch.tensor(pair.ux), found.uy[0] - torch.tensor(pair.uy)))
    ratio = (error / found.displacement_std)[..., 16:-16, 16:-16]
    assert 0.6 < float(1.4826 * ratio.abs().median()) < 1.7


def test_more_positions_make_vectors_that_match_better():
    errors = []
    for positions in (4, 16):
        pair = make_pair((64, 80), positions, ux=lambda x, y: 0.7 * np.sin(x / 15), photons=4000)
        found = retrieve_stack(pair.reference, pair.sample, "xsvt", spec_of("xsvt").settings(window=1))
        errors.append(rms(found.ux, pair.ux))
    assert errors[1] < errors[0] / 3


def test_a_displacement_beyond_the_search_is_flagged():
    pair = make_pair((64, 80), 1, ux=lambda x, y: 5.0 + 0 * x)
    found = retrieve_stack(pair.reference, pair.sample, "xst", spec_of("xst").settings(search_px=5))
    inside = np.s_[0, 16:-16, 16:-16]
    assert float((found.flags[inside] & 1 > 0).float().mean()) > 0.95
    wide = retrieve_stack(pair.reference, pair.sample, "xst", spec_of("xst").settings(search_px=8))
    assert float((wide.flags[inside] & 1 > 0).float().mean()) < 0.05
    assert float((wide.ux[inside] - 5).abs().median()) < 0.1


def test_windows_have_a_centre():
    with pytest.raises(ConfigError, match=r"window must be odd .* found 4"):
        parse_config({"retrieval": {"xst": {"window": 4}}}, "mine")


def test_the_plan_knows_what_a_wider_search_costs():
    spec = spec_of("xst")
    narrow, wide = (spec.settings(search_px=n) for n in (5, 10))
    assert spec.seconds_per_pixel(1, wide) / spec.seconds_per_pixel(1, narrow) == pytest.approx(
        (21 / 11) ** 2
    )
    assert spec.bytes_per_pixel(1, wide) > 4 * 21**2
