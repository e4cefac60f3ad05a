"""Masked content and margins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import overpaint
from overpaint.errors import InputError
from overpaint.runtime.imaging.fill import PADDINGS, Margins, matched_noise, pad, spread

RNG = np.random.default_rng(0)
FOX = np.asarray(Image.open(Path(overpaint.__file__).parent / "models/examples/fox.png").convert("RGB"))
grow = st.integers(0, 90)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), grow, grow, grow, grow, st.sampled_from(sorted(PADDINGS)))
def test_pad_keeps_the_picture(height, width, left, top, right, bottom, mode):
    pixels = RNG.integers(0, 256, (height, width, 3), np.uint8)
    margins = Margins(left, top, right, bottom)
    padded = pad(pixels, margins, mode, seed=1)
    assert padded.shape == (height + top + bottom, width + left + right, 3)
    assert padded.dtype == np.uint8
    np.testing.assert_array_equal(padded[margins.window((width, height)).slices], pixels)
    mask = margins.mask((width, height))
    assert mask.shape == padded.shape[:2]
    assert (mask == 0).sum() == height * width
    np.testing.assert_array_equal(pad(pixels, margins, mode, seed=1), padded)


def test_reflect_mirrors_as_often_as_it_takes():
    row = np.arange(3, dtype=np.uint8)[None, :, None].repeat(3, 2)
    padded = pad(row, Margins(left=7, right=4), "reflect")[0, :, 0].tolist()
    assert padded == [0, 0, 1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]


def test_edge_and_colour():
    pixels = RNG.integers(0, 256, (3, 4, 3), np.uint8)
    assert (pad(pixels, Margins(left=2), "edge")[:, :2] == pixels[:, :1]).all()
    assert (pad(pixels, Margins(top=2), "colour", colour=(1, 2, 3))[:2] == (1, 2, 3)).all()


def test_noise_has_the_pictures_structure():
    noise = matched_noise(FOX, 192, 256, seed=5)
    for channel in range(3):
        np.testing.assert_allclose(
            np.quantile(noise[..., channel], [0.1, 0.25, 0.5, 0.75, 0.9]),
            np.quantile(FOX[..., channel], [0.1, 0.25, 0.5, 0.75, 0.9]),
            atol=8,
        )
    # As the picture: neighbours are alike, and so are the channels.
    ours, theirs = noise.astype(float), FOX.astype(float)
    beside = lambda pixels: np.corrcoef(pixels[:, 1:, 1].ravel(), pixels[:, :-1, 1].ravel())[0, 1]  # noqa: E731
    assert beside(ours) == pytest.approx(beside(theirs), abs=0.15)
    assert np.corrcoef(ours[..., 1].ravel(), ours[..., 2].ravel())[0, 1] > 0.6
    assert (matched_noise(FOX, 192, 256, seed=6) != noise).any()


def test_noise_of_a_flat_picture_is_flat():
    assert (matched_noise(np.full((8, 8, 3), 77, np.uint8), 20, 20, seed=0) == 77).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 60), st.integers(2, 60), st.data())
def test_spread_keeps_what_is_known_and_lies_between(height, width, data):
    pixels = RNG.integers(60, 200, (height, width, 3), np.uint8)
    mask = RNG.choice(np.array([0, 255], np.uint8), (height, width))
    mask[data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))] = 0
    filled = spread(pixels, mask)
    np.testing.assert_array_equal(filled[mask == 0], pixels[mask == 0])
    known = pixels[mask == 0]
    # Pillow rounds premultiplied colours, coarsely where little reaches.
    assert known.min() - 40 <= filled.min()
    assert filled.max() <= known.max() + 40


def test_spread_brings_the_surroundings_into_the_hole():
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :32], pixels[:, 32:] = (200, 40, 40), (40, 40, 200)
    mask = np.zeros((64, 64), np.uint8)
    mask[20:44, 12:52] = 255
    pixels[mask > 0] = (0, 255, 0)
    filled = spread(pixels, mask).astype(int)
    assert (filled[32, 14] - (200, 40, 40) < 40).all()
    assert filled[32, 14, 0] > filled[32, 14, 2] + 60
    assert filled[32, 49, 2] > filled[32, 49, 0] + 60
    assert filled[..., 1].max() < 60


def test_spread_reaches_everywhere():
    pixels = np.full((4, 3000, 3), 90, np.uint8)
    mask = np.full((4, 3000), 255, np.uint8)
    mask[:, :4] = 0
    assert (spread(pixels, mask)[:, -1] == 90).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Margins(left=-1), "grows by 0 pixels or more"),
        (lambda: pad(FOX, Margins(left=1), "mirror"), "unknown padding 'mirror'"),
        (lambda: pad(FOX, Margins(left=1), "colour", colour=(1, 2, 300)), "a colour is three levels"),
        (lambda: spread(FOX, np.full(FOX.shape[:2], 255, np.uint8)), "covers the whole picture"),
    ],
)
def test_bad_input_names_cause_and_mend(wrong, message):
    with pytest.raises(InputError, match=message):
        wrong()
