"""Repeated frames and pairs of frames that do not agree are named; those that do are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from speckleflow.inspection.agreement import (
    brightness_warning,
    pairing_problems,
    repeat_problems,
    repeat_warnings,
)

SIZE = (70, 90)


def patterns(count: int, seed: int = 3) -> np.ndarray:
    """Independent speckle patterns of mean 1, visibility 0.2."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal((count, *SIZE)), (0, 1.4, 1.4), mode="wrap")
    return 1 + 0.2 * noise / noise.std((1, 2), keepdims=True)


def counted(images: np.ndarray, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).poisson(4000 * images).astype(np.uint16)


def test_repeats_that_agree():
    """Noise alone, and a flux that wavers by 0.3 % from frame to frame."""
    flux = 1 + 0.003 * np.random.default_rng(1).standard_normal((10, 1, 1))
    assert repeat_warnings(counted(patterns(1) * flux), "reference frames", "a.h5") == []
    assert repeat_problems(counted(np.repeat(patterns(1), 6, 0)), "reference frames", "a.h5") == []


def test_repeats_of_another_brightness():
    frames = counted(np.concatenate([np.ones((4, *SIZE)), np.full((4, *SIZE), 1.07)]))
    (warning,) = repeat_warnings(frames, "flat frames", "a.h5")
    assert (
        "a.h5: the first and the second half of the flat frames differ, their brightness by +7.0 %" in warning
    )


def test_repeats_in_half_precision():
    """The sum of their levels is more than a half-precision number holds."""
    frames = np.concatenate([np.full((8, *SIZE), 10000.0), np.full((8, *SIZE), 10700.0)])
    frames += np.random.default_rng(2).normal(0, 60, frames.shape)
    (warning,) = repeat_warnings(frames.astype(np.float16), "flat frames", "a.h5")
    assert "their brightness by +7.0 %" in warning


@pytest.mark.parametrize("moved", [0.5, 1.5])
def test_a_pattern_that_crept(moved: float):
    """The diffuser moved between the halves; the amount is named to 0.2 px."""
    still = patterns(1)[0]
    later = ndimage.shift(still, (0.0, moved), order=3, mode="wrap")
    (warning,) = repeat_warnings(
        counted(np.concatenate([[still] * 4, [later] * 4])), "reference frames", "a.h5"
    )
    stated = float(warning.split("moved by ")[1].split()[0])
    assert stated == pytest.approx(moved, abs=0.2)  # 0.5 and 1.4


def test_positions_that_would_be_averaged():
    (problem,) = repeat_problems(counted(patterns(5)), "reference frames", "a.tif")
    assert "patterns that correlate by" in str(problem)
    assert "files.axes" in str(problem)


def pair(order: list[int], change=lambda image: image) -> tuple[list, list[str]]:
    reference = patterns(4)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    sphere = np.exp(-(((y - 35) / 14) ** 2) - ((x - 50) / 14) ** 2)
    moved = [
        ndimage.map_coordinates(image, [y - 1.5 * sphere, x + 2 * sphere], order=3, mode="wrap")
        for image in reference[order]
    ]
    sample = np.stack([change(image) for image in (1 - 0.4 * sphere) * np.stack(moved)])
    names = [f"sample_{n}" for n in range(4)]
    return pairing_problems(
        counted(sample).astype(float),
        counted(reference, 8).astype(float),
        names,
        [f"ref_{n}" for n in range(4)],
    )


def test_pairs_that_fit():
    assert pair([0, 1, 2, 3]) == ([], [])


def test_pairs_that_were_exchanged():
    problems, _ = pair([0, 2, 1, 3])
    assert [problem.where for problem in problems] == ["sample_1", "sample_2"]
    assert "expected the pattern of ref_1 behind the sample, found that of ref_2" in str(problems[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda image: image[:, ::-1], "left to right"),
        (lambda image: image[::-1], "top to bottom"),
        (lambda image: image[::-1, ::-1], "180 degrees"),
    ],
)
def test_pairs_of_which_one_is_mirrored(change, said: str):
    problems, _ = pair([0, 1, 2, 3], change)
    assert len(problems) == 4
    assert all(said in str(problem) for problem in problems)


def test_a_pattern_that_lies_elsewhere_than_the_others_is_named():
    """One position by 4 px; then all of them, by 9 px along y."""
    reference = counted(patterns(4))
    names, partners = ([f"{what}_{n}" for n in range(4)] for what in "sr")
    assert pairing_problems(counted(patterns(4), 8), reference, names, partners) == ([], [])
    moved = patterns(4)
    moved[2] = np.roll(moved[2], 4, axis=1)
    problems, (warning,) = pairing_problems(counted(moved, 8), reference, names, partners)
    assert problems == []
    assert warning.startswith("s_2: the pattern of its reference lies +0 px along y and +4 px along x away")
    far = np.roll(patterns(4), 9, axis=1)
    problems, (warning,) = pairing_problems(counted(far, 8), reference, names, partners)
    assert problems == []
    assert "lie +9 px along y and +0 px along x away" in warning
    assert "another region of the detector" in warning


def test_a_sample_brighter_than_its_reference_may_be_exchanged_with_it():
    beam, shadow = patterns(2), patterns(2)
    shadow[:, 20:50, 30:60] *= 0.8
    words = brightness_warning(counted(beam), counted(shadow), "s.tif", "r.tif")
    assert words is not None
    assert words.startswith("s.tif is up to 1.2")
    assert brightness_warning(counted(shadow), counted(beam), "s.tif", "r.tif") is None
    assert brightness_warning(counted(beam, 8), counted(beam), "s.tif", "r.tif") is None
