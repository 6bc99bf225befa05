"""What blur after the sample does to a displacement, and that umpa takes it off or says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from speckleflow.config.models import UmpaSettings
from speckleflow.retrieval.blur import unresolved_variance
from speckleflow.retrieval.umpa import Umpa

SLOPE, BLUR = 0.04, 1.0  # absorption per pixel; point spread of the detector in pixels


def fields(blur_known: bool):
    """A wedge that absorbs and refracts nothing, before a speckle pattern, seen through a blurred detector."""
    noise = np.random.default_rng(3).normal(size=(10, 96, 128))
    pattern = gaussian_filter(noise, (0, 1.5, 1.5), mode="wrap")
    pattern = 1 + 0.2 * pattern / pattern.std()
    wedge = np.exp(-SLOPE * np.abs(np.arange(128) - 63.5))
    blurred = [gaussian_filter(stack, (0, BLUR, BLUR)) for stack in (pattern, wedge * pattern)]
    reference, sample = (torch.from_numpy(stack).float() for stack in blurred)
    umpa = Umpa(UmpaSettings(detector_blur_px=BLUR if blur_known else 0.0))
    return umpa(sample[None], umpa.prepare(reference)).ux[0].numpy()


def test_absorption_looks_like_a_displacement_only_while_the_blur_is_not_known():
    for known, expected in ((False, -(BLUR**2) * SLOPE), (True, 0.0)):
        ux = fields(known)
        # ln T rises to the ridge of the wedge from the left and falls to the right of it. What few frames leave of the
        # formula is a fifth: pattern and its derivative are independent over many frames only.
        assert ux[16:-16, 20:50].mean() == pytest.approx(expected, abs=0.01)
        assert ux[16:-16, 78:108].mean() == pytest.approx(-expected, abs=0.01)


def test_what_a_smoothing_takes_is_expected_of_it():
    """Of waves that the smoothing leaves almost alone, whose loss is s^2 k^2 / 2: the estimate is twice that."""
    x = torch.arange(256.0)
    wave = torch.sin(2 * np.pi * x / 32).expand(1, 8, 256)
    s2 = 1.5
    lost = wave * (1 - np.exp(-0.5 * s2 * (2 * np.pi / 32) ** 2))
    expected = unresolved_variance(wave, wave, s2).sqrt()
    assert float(expected[0, 4, 16:-16].mean() / lost[0, 4, 16:-16].abs().mean()) == pytest.approx(
        2, rel=0.05
    )
    assert not unresolved_variance(torch.ones(1, 8, 8), torch.ones(1, 8, 8), s2).any()
