from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from overpaint.errors import InputError
from overpaint.runtime.imaging.picture import Picture
from overpaint.runtime.imaging.resize import MODES, fit, restore

RNG = np.random.default_rng(0)


def picture(width, height, alpha=False):
    return Picture(
        RNG.integers(0, 256, (height, width, 3), np.uint8),
        RNG.integers(0, 256, (height, width), np.uint8) if alpha else None,
    )


sides = st.integers(8, 200)
multiples = st.sampled_from([1, 4, 8, 32, 64])


@settings(max_examples=100, deadline=None)
@given(sides, sides, multiples, st.booleans())
def test_without_a_size_the_pixels_come_back_bit_for_bit(width, height, multiple, alpha):
    multiple = min(multiple, width, height)
    source = picture(width, height, alpha)
    fitted, placement = fit(source, None, "none", multiple)
    assert fitted.size == (-(-width // multiple) * multiple, -(-height // multiple) * multiple)
    restored = restore(fitted.pixels, placement)
    assert restored.size == (width, height)
    np.testing.assert_array_equal(np.asarray(restored), np.asarray(source.image))


@settings(max_examples=100, deadline=None)
@given(st.tuples(sides, sides), st.tuples(sides, sides), st.sampled_from(MODES[:3]), st.booleans())
def test_with_a_size_the_output_has_it(old, new, mode, alpha):
    fitted, placement = fit(picture(*old, alpha), new, mode, 8)
    assert all(length % 8 == 0 for length in fitted.size)
    restored = restore(fitted.pixels, placement)
    assert restored.size == new
    assert restored.mode == ("RGBA" if alpha else "RGB")


@pytest.mark.parametrize("mode", MODES)
def test_a_size_that_is_the_pictures_own_changes_nothing(mode):
    source = picture(50, 30, alpha=True)
    fitted, placement = fit(source, (50, 30), mode, 8)
    np.testing.assert_array_equal(np.asarray(restore(fitted.pixels, placement)), np.asarray(source.image))


def test_stretch_is_lanczos():
    source = picture(40, 60)
    fitted, _ = fit(source, (64, 32), "stretch", 8)
    np.testing.assert_array_equal(fitted.pixels, np.asarray(source.image.resize((64, 32), Image.Resampling.LANCZOS)))


def test_what_a_multiple_lacks_is_mirrored():
    source = picture(13, 10)
    fitted, _ = fit(source, None, "none", 8)
    np.testing.assert_array_equal(fitted.pixels[:10, 13:], source.pixels[:, :9:-1])
    np.testing.assert_array_equal(fitted.pixels[10:, :13], source.pixels[:3:-1])


def disc(width, height):
    """A red disc in the middle of blue, so that shape and place can be measured."""
    y, x = np.mgrid[:height, :width]
    inside = (x - width / 2 + 0.5) ** 2 + (y - height / 2 + 0.5) ** 2 < (min(width, height) * 0.4) ** 2
    return Picture(np.where(inside[..., None], (255, 0, 0), (0, 0, 255)).astype(np.uint8))


@pytest.mark.parametrize("old", [(120, 60), (60, 120), (100, 100)])
@pytest.mark.parametrize("new", [(64, 64), (128, 64), (40, 104)])
@pytest.mark.parametrize("mode", ["crop", "pad"])
def test_crop_and_pad_keep_shapes_and_the_middle(old, new, mode):
    fitted, placement = fit(disc(*old), new, mode, 8)
    inside = np.asarray(restore(fitted.pixels, placement))[..., 0] > 127
    rows, columns = np.nonzero(inside)
    scale = {"crop": max, "pad": min}[mode](new[0] / old[0], new[1] / old[1])
    diameter = min(old) * 0.8 * scale
    assert np.ptp(columns) + 1 == pytest.approx(min(diameter, new[0]), abs=2.5)
    assert np.ptp(rows) + 1 == pytest.approx(min(diameter, new[1]), abs=2.5)
    assert columns.mean() == pytest.approx((new[0] - 1) / 2, abs=1)
    assert rows.mean() == pytest.approx((new[1] - 1) / 2, abs=1)


def test_pad_repeats_the_edges():
    fitted, _ = fit(Picture(np.full((40, 20, 3), 77, np.uint8)), (64, 64), "pad", 8)
    assert (fitted.pixels == 77).all()


def test_alpha_travels_along_and_hidden_colours_do_not_bleed():
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[16:48, 16:48] = (255, 255, 255, 255)
    source = Picture(pixels[..., :3], pixels[..., 3])
    fitted, placement = fit(source, (40, 40), "stretch", 8)
    restored = np.asarray(restore(fitted.pixels, placement))
    np.testing.assert_array_equal(restored[..., 3], placement.alpha)
    edge = (restored[..., 3] > 60) & (restored[..., 3] < 250)
    assert edge.any()
    assert restored[edge][:, :3].min() > 240


@pytest.mark.parametrize(
    ("size", "mode", "cause"),
    [
        ((64, 64), "none", "keeps 40x40"),
        ((64, 64), "squash", "stretch"),
        ((4, 64), "crop", "at least 8x8"),
        ((20000, 2000), "crop", "16384"),
        ((1024, 8), "crop", "32:1"),
        ((64.0, 64), "crop", "whole pixels"),
        ((True, 64), "crop", "whole pixels"),
        ((64,), "crop", "whole pixels"),
    ],
)
def test_sizes_and_modes_that_cannot_be(size, mode, cause):
    with pytest.raises(InputError, match=cause):
        fit(picture(40, 40), size, mode, 8)


def test_a_picture_smaller_than_a_latent_is_refused_whatever_the_size():
    with pytest.raises(InputError, match="picture is 5x40"):
        fit(picture(5, 40), (64, 64), "crop", 8)
