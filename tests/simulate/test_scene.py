"""The images of a scan before the detector: drift, rotation axis, reference and sample of an empty beam."""

import pytest
import torch

from speckleflow.config.models import Simulate
from speckleflow.simulate.detector import seeded
from speckleflow.simulate.phantoms import Phantom
from speckleflow.simulate.scene import Scene
from speckleflow.simulate.solids import sphere

SETTINGS = Simulate(rows=32, columns=40, positions=2)


@pytest.mark.parametrize("model", ["rays", "wave"])
def test_an_empty_beam_shows_the_reference_and_its_drift(model):
    scene = Scene(SETTINGS.model_copy(update={"model": model}), seeded(1, 1))
    empty = Phantom(())
    still, fields = scene.sample(empty, 0.0)
    reference = torch.stack([scene.reference(0), scene.reference(1)])
    # a wave moved by parts of a sample and its intensity moved so differ by what the grid does not resolve
    tolerance = 1e-4 if model == "rays" else 0.01
    assert torch.allclose(still, reference, atol=tolerance)
    assert float(fields.transmission.min()) == float(fields.darkfield.min()) == 1
    # drift (x, y) = (2, -3): the pattern stands two pixels further right and three further up
    moved, _ = scene.sample(empty, 0.0, (2.0, -3.0))
    assert torch.allclose(moved[:, 4:-4, 4:-4], reference[:, 7:-1, 2:-6], atol=tolerance)


def test_the_axis_is_where_the_offset_puts_it():
    scene = Scene(SETTINGS.model_copy(update={"axis_offset_px": -3.25}), seeded(1, 1))
    assert scene.axis_px == pytest.approx(19.5 - 3.25)
    pixel = scene.beam.pixel_size_m
    ball = Phantom((sphere("PMMA", "PMMA", (0.0, 0.0, 0.0), 8 * pixel),))
    for angle in (0.0, 77.0):
        phase = scene.sample(ball, angle)[1].phase
        columns = torch.arange(40.0)
        assert float((phase.sum(0) * columns).sum() / phase.sum()) == pytest.approx(scene.axis_px, abs=1e-3)


def test_positions_differ_and_a_grating_is_stepped_within_its_period():
    scene = Scene(SETTINGS, seeded(1, 1))
    assert not torch.allclose(scene.reference(0), scene.reference(1), atol=0.1)
    grating = SETTINGS.model_copy(
        update={
            "modulator": "grating",
            "pitch_um": 39.0,
            "positions": 4,
            "trajectory": "grid",
            "visibility": 0.1,
        }
    )
    places = Scene(grating, seeded(1, 1)).positions_yx_px
    # two by two steps of half a period of six pixels, and the motors' error
    assert places[3].tolist() == pytest.approx([3, 3], abs=0.5)
