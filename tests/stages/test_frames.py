"""What a raw frame is refused for: each limit from both sides."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from speckleflow.errors import InputError
from speckleflow.stages.frames import check_frames

ROWS, COLUMNS, DARK, BEAM = 200, 50, 100.0, 4000.0


def refusal(frames, dtype=np.uint16, bad=(), fill=0.0, gain=None):
    """What the second of two projections is refused for; None if it can be used."""
    try:
        looked_at(frames, dtype, bad, fill, gain)
    except InputError as error:
        found = str(error)
    else:
        return None
    assert found.startswith("sample.h5, frame 14:")  # projection 3 is the raw frame 14
    assert "angle 21 deg" in found
    return found


def looked_at(frames, dtype=np.uint16, bad=(), fill=0.0, gain=None):
    """Numbers of pixels and of frames that are filled."""
    raw = np.stack([usual() + 1, frames]).astype(dtype)[:, None]
    mask = np.zeros((ROWS, COLUMNS), bool)
    for place in bad:
        mask[place] = True
    correction = SimpleNamespace(
        saturation=None,
        bad=mask,
        dark=np.full((1, ROWS, COLUMNS), DARK),
        gain=None if gain is None else np.full((1, ROWS, COLUMNS), gain),
        reference=np.full((1, ROWS, COLUMNS), BEAM if gain is None else BEAM * gain),
    )
    source = SimpleNamespace(name="sample.h5")
    scan = SimpleNamespace(
        raw_indices=np.array([10, 11, 12, 14, 15]),
        sample=[source],
        n_positions=1,
        angles_deg=np.arange(5) * 7.0,
        config=SimpleNamespace(correct=SimpleNamespace(fill_fraction=fill, saturation_level=None)),
    )
    return check_frames(raw, scan, correction, 2)


def usual(level: float = BEAM):
    """Counts around a level over dark, no two neighbours alike."""
    return DARK + level + np.random.default_rng(2).integers(-3, 4, (ROWS, COLUMNS))


def test_light():
    assert refusal(usual(0.055 * BEAM)) is None
    assert "light at 4.5% of the reference's" in refusal(usual(0.045 * BEAM))
    # a reference that is over its flat, of 20,000 counts: light is light
    assert refusal(usual(0.055 * BEAM), gain=1 / 20000) is None
    assert "light at 4.5% of the reference's" in refusal(usual(0.045 * BEAM), gain=1 / 20000)
    assert "light at 0.0% of the reference's" in refusal(usual(-50))


def test_saturation():
    """More than one pixel in a hundred of the good ones at the largest count."""
    frame = usual()
    frame[::2, 0] = 65535
    assert refusal(frame) is None  # 100 of 10,000
    frame[0, 1] = 65535
    assert "1% of its pixels at the largest count" in refusal(frame)
    assert refusal(frame, bad=[(0, 0), (0, 1)]) is None
    assert refusal(frame, dtype=np.float32) is None  # no largest count


def test_values_that_are_no_numbers():
    frame = usual()
    frame[3, 4], frame[5, 6] = np.nan, np.inf
    assert "2 pixel(s) that are NaN or infinite" in refusal(frame, dtype=np.float32)
    assert "1 pixel(s) that are NaN or infinite" in refusal(frame, dtype=np.float32, bad=[(3, 4)])


def test_rows_of_one_value():
    frame = usual()
    frame[:2] = frame[:2, :1]
    assert refusal(frame) is None  # two of 200
    frame[2] = 4000
    assert "2% of its rows of one value" in refusal(frame)
    # a row is looked at where half of it is good
    assert refusal(frame, bad=[(slice(1, 3), slice(0, 26))]) is None
    assert refusal(frame, bad=[(slice(1, 3), slice(0, 24))]) is not None


def test_pixels_that_are_filled():
    """Three in a hundred of a frame, where so many may be; without those that are bad in all frames."""
    lost = usual()
    lost[10:16] = np.nan  # 300 of 10,000, six rows
    assert "300 pixel(s) that are NaN" in refusal(lost, dtype=np.float32, fill=0.029)
    lost = usual()
    lost[10:110, 5:8] = np.nan
    assert looked_at(lost, dtype=np.float32, fill=0.03) == (300, 1)
    assert looked_at(lost, dtype=np.float32, fill=0.03, bad=[(slice(0, 60), slice(0, 6))]) == (250, 1)
    bright = usual()
    bright[10:110, 5:8] = 65535
    assert "3% of its pixels at the largest count" in refusal(bright, fill=0.029)
    assert looked_at(bright, fill=0.03) == (300, 1)
    assert looked_at(usual(), fill=0.03) == (0, 0)


def test_the_frame_before_once_more():
    assert "the same counts in every pixel as the frame before it" in refusal(usual() + 1)
    nearly = usual() + 1
    nearly[3, 4] += 1
    assert refusal(nearly) is None
