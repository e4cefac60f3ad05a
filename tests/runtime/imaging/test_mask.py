"""Masks: read from every kind of image, and blurred, grown, cropped and scaled as the peers do."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from overpaint.errors import InputError
from overpaint.runtime.imaging import mask, mask_shape

sides = st.integers(1, 48)
masks = st.tuples(sides, sides).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 90, 255]))
)

SQUARE = np.zeros((20, 30), np.uint8)
SQUARE[5:12, 8:20] = 255


def modes():
    grey = Image.fromarray(SQUARE)
    opaque, key = Image.new("L", grey.size, 255), grey.convert("P")
    yield from (grey.convert(mode) for mode in ("1", "L", "P", "RGB", "CMYK", "HSV", "YCbCr", "F"))
    yield Image.merge("LA", (grey, opaque))
    yield Image.merge("LA", (grey, opaque)).convert("PA")
    yield Image.merge("RGBA", (grey, grey, grey, opaque))
    yield Image.merge("LAB", (grey, *[Image.new("L", grey.size, 128)] * 2))
    yield Image.fromarray(SQUARE.astype(np.int32))
    yield Image.fromarray(SQUARE.astype(np.int32) * 257)
    yield Image.fromarray(SQUARE.astype(np.uint16))
    yield Image.fromarray(SQUARE.astype(np.uint16) * 257)
    yield Image.fromarray(SQUARE.astype(np.float32) / 255)
    yield key


@pytest.mark.parametrize("image", list(modes()), ids=lambda image: image.mode)
def test_white_is_repainted_in_every_mode(image):
    np.testing.assert_allclose(mask.read(image).levels, SQUARE, atol=1)


@pytest.mark.parametrize("array", [SQUARE, SQUARE > 0, SQUARE / 255, np.repeat(SQUARE[..., None], 3, 2)])
def test_white_is_repainted_in_every_array(array):
    np.testing.assert_array_equal(mask.read(array).levels, SQUARE)


def test_files_and_bytes_are_read(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(SQUARE).save(stream, "PNG")
    (tmp_path / "mask.png").write_bytes(stream.getvalue())
    for source in (stream.getvalue(), tmp_path / "mask.png"):
        np.testing.assert_array_equal(mask.read(source, (30, 20)).levels, SQUARE)


def test_a_mask_by_transparency_repaints_what_was_erased():
    picture = np.dstack([np.full((20, 30, 3), 200, np.uint8), 255 - SQUARE])
    read = mask.read(picture)
    np.testing.assert_array_equal(read.levels, SQUARE)
    assert "transparent is repainted" in read.notes[0]
    np.testing.assert_array_equal(mask.read(picture, channel="alpha", invert=True).levels, 255 - SQUARE)
    # What is erased is black to the eye, whatever colour is hidden there.
    np.testing.assert_array_equal(mask.read(picture, channel="luma").levels, np.where(SQUARE, 0, 200))


def test_an_opaque_alpha_says_nothing():
    opaque = np.dstack([SQUARE, SQUARE, SQUARE, np.full_like(SQUARE, 255)])
    assert mask.read(opaque).notes == ()
    np.testing.assert_array_equal(mask.read(opaque).levels, SQUARE)


@pytest.mark.parametrize(("level", "word"), [(0, "empty"), (255, "full")])
def test_empty_and_full_masks_are_noted(level, word):
    read = mask.read(np.full((8, 8), level, np.uint8))
    assert (read.levels == level).all()
    assert any(word in note for note in read.notes)
    assert mask.read(read.levels, invert=True).levels[0, 0] == 255 - level


def test_another_size_is_refused_or_scaled():
    with pytest.raises(InputError, match=r"the mask is 30x20 pixels, the picture 60x40; .*ask for it to be resized"):
        mask.read(SQUARE, (60, 40))
    scaled = mask.read(SQUARE, (60, 40), resize=True)
    assert scaled.size == (60, 40)
    assert "scaled" in scaled.notes[0]


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (SQUARE, {"channel": "red"}, "unknown mask channel 'red'"),
        (SQUARE, {"channel": "alpha"}, "no alpha channel"),
        (SQUARE // 255, {}, "brightest level is 1 of 255"),
        (SQUARE.astype(np.int64), {}, "int64 is not known"),
        ("absent.png", {}, "no such file"),
        (b"", {}, "is empty"),
    ],
)
def test_bad_masks_name_cause_and_mend(source, options, message):
    with pytest.raises(InputError, match=message):
        mask.read(source, **options)


def test_operations_refuse_what_they_do_not_know():
    for wrong in (
        lambda: mask_shape.blur(SQUARE, -1),
        lambda: mask_shape.blur(SQUARE, float("nan")),
        lambda: mask_shape.blur(SQUARE, 2, kind="box"),
        lambda: mask.to_latents(SQUARE, 2, "nearest"),
        lambda: mask.to_latents(SQUARE, 8),
    ):
        with pytest.raises(InputError):
            wrong()


@settings(max_examples=60, deadline=None)
@given(masks, st.floats(0, 6), st.floats(0, 6))
def test_blur_is_a_gaussian_within_its_reach(levels, x, y):
    blurred = mask_shape.blur(levels, x, y)
    reach_x, reach_y = mask_shape.blur_reach(x), mask_shape.blur_reach(y)
    untouched = mask_shape.grow(levels, reach_x + reach_y) == 0
    assert not blurred[untouched].any()
    assert levels.min() <= blurred.min() <= blurred.max() <= levels.max()
    constant = np.full_like(levels, 255)
    np.testing.assert_array_equal(mask_shape.blur(constant, x, y), constant)


def test_blur_of_an_edge_is_the_error_function():
    from scipy.special import erf

    edge = np.zeros((1, 101), np.uint8)
    edge[:, 50:] = 255
    expected = 255 * (1 + erf((np.arange(101) - 49.5) / (4 * np.sqrt(2)))) / 2
    np.testing.assert_allclose(mask_shape.blur(edge, 4)[0], expected, atol=2)


def test_blur_as_diffusers_is_bit_equal():
    image = Image.fromarray(SQUARE)
    np.testing.assert_array_equal(
        mask_shape.blur(SQUARE, 3, kind="diffusers"), np.asarray(VaeImageProcessor.blur(image, 3))
    )


@settings(max_examples=60, deadline=None)
@given(masks, st.integers(0, 9))
def test_grow_takes_the_brightest_within_the_radius(levels, pixels):
    height, width = levels.shape
    padded = np.pad(levels, pixels)
    offsets = [
        (y, x)
        for y in range(2 * pixels + 1)
        for x in range(2 * pixels + 1)
        if (y - pixels) ** 2 + (x - pixels) ** 2 <= pixels**2
    ]
    expected = np.max([padded[y : y + height, x : x + width] for y, x in offsets], axis=0)
    np.testing.assert_array_equal(mask_shape.grow(levels, pixels), expected)
    np.testing.assert_array_equal(mask_shape.grow(levels, -pixels), 255 - mask_shape.grow(255 - levels, pixels))


@settings(max_examples=200, deadline=None)
@given(masks, st.integers(0, 60), st.integers(1, 12), st.integers(1, 12))
def test_region_is_that_of_diffusers(levels, padding, width, height):
    assume(levels.any())
    window = mask_shape.region(levels, padding, (64 * width, 64 * height))
    expected = VaeImageProcessor.get_crop_region(Image.fromarray(levels), 64 * width, 64 * height, padding)
    assert (window.left, window.top, window.left + window.width, window.top + window.height) == expected
    covered = np.zeros_like(levels)
    covered[window.slices] = 255
    assert not levels[covered == 0].any()


def test_region_of_nothing_is_none():
    assert mask_shape.region(np.zeros((8, 8), np.uint8), 4, (64, 64)) is None


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 4, 8]), st.randoms())
def test_latent_masks_are_the_peers(rows, columns, downscale, random):
    levels = np.random.default_rng(random.randrange(2**32)).integers(
        0, 256, (rows * downscale, columns * downscale), np.uint8
    )
    processor = VaeImageProcessor(
        vae_scale_factor=downscale, do_normalize=False, do_binarize=True, do_convert_grayscale=True
    )
    binary = processor.preprocess(Image.fromarray(levels), *levels.shape)
    ours = mask.to_latents(levels, downscale)
    theirs = torch.nn.functional.interpolate(binary, size=(rows, columns))[0, 0].numpy()
    np.testing.assert_array_equal(ours, theirs)
    scaled = Image.fromarray(levels).convert("RGB").resize((columns, rows))
    np.testing.assert_array_equal(
        mask.to_latents(levels, downscale, "a1111"), np.around(np.asarray(scaled, np.float32)[..., 0] / 255)
    )
    area = torch.nn.functional.interpolate(
        torch.from_numpy(levels / 255)[None, None], size=(rows, columns), mode="area"
    )
    np.testing.assert_allclose(mask.to_latents(levels, downscale, "area"), area[0, 0].numpy(), atol=1e-6)


def test_nearly_black_counts_as_black():
    levels = np.array([[0, 1, 3, 4, 255]], np.uint8)
    read = mask.read(levels)
    np.testing.assert_array_equal(read.levels, [[0, 0, 0, 4, 255]])
    assert "2 pixels of level 1 to 3 count as black" in read.notes[0]
    assert mask.read(255 - levels, invert=True).levels.tolist() == read.levels.tolist()
    assert any("empty" in note for note in mask.read(np.full((8, 8), 3, np.uint8)).notes)


def test_a_covering_latent_mask_frees_grey_patches_but_no_soft_edges():
    levels = np.zeros((24, 40), np.uint8)
    levels[:8, :8] = 60
    levels[8:16, 24:32] = 255
    levels[8:16, 16:24] = levels[16:, 32:] = 60
    np.testing.assert_array_equal(
        mask.to_latents(levels, 8, "cover"), [[1, 0, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]
    )
