"""Colours matched to a source's, and the shift of an inpainted area taken out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

import overpaint
from overpaint.errors import InputError
from overpaint.runtime.imaging import tiles
from overpaint.runtime.imaging.lab import from_lab, to_lab
from overpaint.runtime.imaging.match import METHODS, histogram, match, mean, settle, wavelet
from overpaint.runtime.imaging.ring import FIELDS, ring

RNG = np.random.default_rng(0)
EXAMPLES = Path(overpaint.__file__).parent / "models/examples"


def example(name, size=96):
    image = Image.open(EXAMPLES / f"{name}.png").convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


FOX, PIZZA = example("fox"), example("pizza")
methods = pytest.mark.parametrize("method", METHODS)


def test_lab_goes_there_and_back():
    cube = np.stack(np.meshgrid(*[np.arange(0, 256, 15, np.uint8)] * 3), axis=-1).reshape(18, -1, 3)
    np.testing.assert_array_equal(from_lab(to_lab(cube)), cube)
    white, grey = to_lab(np.array([[255] * 3, [119] * 3], np.uint8))
    np.testing.assert_allclose(white, [100, 0, 0], atol=1e-3)
    np.testing.assert_allclose(grey, [50.03, 0, 0], atol=0.02)
    # ColorMine's and Lindbloom's values of pure red, under D65.
    np.testing.assert_allclose(to_lab(np.array([255, 0, 0], np.uint8)), [53.24, 80.09, 67.20], atol=0.05)


def test_lightness_is_that_of_littlecms():
    rgb = ImageCms.createProfile("sRGB")
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, 2)
    theirs = ImageCms.applyTransform(
        Image.fromarray(grey), ImageCms.buildTransform(rgb, ImageCms.createProfile("LAB"), "RGB", "LAB")
    )
    np.testing.assert_allclose(to_lab(grey)[..., 0] * 2.55, np.asarray(theirs)[..., 0], atol=1)


@methods
@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_a_picture_matched_with_itself_is_itself(method, height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert np.abs(match(pixels, pixels, method).astype(int) - pixels).max() <= 1


@methods
def test_strips_do_not_show(method, monkeypatch):
    whole = match(FOX, PIZZA, method)
    monkeypatch.setattr(tiles, "STRIP_PIXELS", 5 * FOX.shape[1])
    np.testing.assert_array_equal(match(FOX, PIZZA, method), whole)


@methods
def test_a_colour_cast_is_taken_off(method):
    photo = np.clip(RNG.normal((120, 100, 90), (30, 25, 20), (64, 64, 3)), 40, 215).astype(np.uint8)
    cast = (photo + np.array([12, 0, 20])).astype(np.uint8)
    ours, theirs = (to_lab(pixels)[..., 1:].mean(axis=(0, 1)) for pixels in (match(cast, photo, method), photo))
    np.testing.assert_allclose(ours, theirs, atol=0.5)


def test_histogram_takes_over_the_distribution_but_not_the_light():
    photo = np.clip(RNG.normal(120, 20, (64, 64, 3)), 0, 255).astype(np.uint8)
    source = np.clip(RNG.normal((140, 110, 100), 15, (90, 40, 3)), 0, 255).astype(np.uint8)
    ours, theirs = (to_lab(pixels).reshape(-1, 3) for pixels in (histogram(photo, source, luminance=1.0), source))
    shares = [0.05, 0.25, 0.5, 0.75, 0.95]
    np.testing.assert_allclose(np.quantile(ours, shares, axis=0), np.quantile(theirs, shares, axis=0), atol=0.5)
    np.testing.assert_allclose(to_lab(histogram(photo, source))[..., 0], to_lab(photo)[..., 0], atol=1)


def test_mean_takes_over_mean_and_deviation():
    source = np.clip(RNG.normal((150, 110, 100), 15, (50, 40, 3)), 0, 255).astype(np.uint8)
    photo = np.clip(RNG.normal(120, 25, (64, 64, 3)), 0, 255).astype(np.uint8)
    matched = to_lab(mean(photo, source)).reshape(-1, 3)
    theirs = to_lab(source).reshape(-1, 3)
    np.testing.assert_allclose(matched.mean(axis=0), theirs.mean(axis=0), atol=0.3)
    np.testing.assert_allclose(matched.std(axis=0), theirs.std(axis=0), atol=0.3)


def test_greys_stay_grey_and_flat_pictures_do_not_break():
    flat = np.full((20, 20, 3), 90, np.uint8)
    grey = np.repeat(RNG.integers(0, 256, (20, 20, 1), np.uint8), 3, 2)
    for method in ("histogram", "mean"):
        assert np.ptp(match(grey, grey[::-1] // 2, method).astype(int), axis=2).max() <= 1
        match(flat, PIZZA, method)
        match(PIZZA, flat, method)


def test_wavelet_is_stablesrs():
    import torch

    def low(image):
        kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])[None, None].repeat(3, 1, 1, 1) / 16
        for step in (1, 2, 4, 8, 16):
            padded = torch.nn.functional.pad(image, [step] * 4, mode="replicate")
            image = torch.nn.functional.conv2d(padded, kernel, groups=3, dilation=step)
        return image

    ours, source = (torch.tensor(pixels).permute(2, 0, 1)[None].float() for pixels in (FOX, PIZZA))
    expected = (ours - low(ours) + low(source)).clip(0, 255)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(wavelet(FOX, PIZZA), expected, atol=0.51)


def hole(height=80, width=90):
    mask = np.zeros((height, width), np.uint8)
    mask[30:55, 25:70] = 255
    return mask


@pytest.mark.parametrize("field", FIELDS)
def test_a_shift_is_measured_and_removed(field):
    original, mask = RNG.integers(60, 190, (80, 90, 3), np.uint8), hole()
    order, ramp = FIELDS[field], np.linspace(0, 1, 90)[None, :, None]
    shift = np.array([6.0, -4.0, 2.0]) + (8 * ramp**order if order else 0)
    repainted = np.rint(original + shift + RNG.normal(0, 1, original.shape)).astype(np.uint8)
    result = ring(original, repainted, mask, field=field)
    inside = mask > 0
    assert max(result.before) > 5
    assert max(result.after) < 0.5
    assert np.abs((result.pixels[inside].astype(float) - original[inside]).mean(axis=0)).max() < 0.3
    np.testing.assert_array_equal(result.pixels[~inside], repainted[~inside])


def test_a_field_does_not_run_away_from_a_ring_on_one_side():
    original = np.full((64, 200, 3), 128, np.uint8)
    mask = np.zeros((64, 200), np.uint8)
    mask[:, 40:] = 255
    repainted = original.copy()
    repainted[:, :40] = 128 + np.arange(40)[None, :, None] // 4
    corrected = ring(original, repainted, mask, field="quadratic").pixels
    assert np.abs(corrected[:, 40:].astype(int) - 128).max() <= 10


@pytest.mark.parametrize("strip", [10, 10**6])
def test_nothing_off_changes_nothing(strip, monkeypatch):
    monkeypatch.setattr(tiles, "STRIP_PIXELS", strip)
    result = ring(FOX[:80, :90], FOX[:80, :90], hole(), field="linear")
    np.testing.assert_array_equal(result.pixels, FOX[:80, :90])
    assert result.before == result.after == (0.0, 0.0, 0.0)


def test_without_mask_or_ring_nothing_is_corrected():
    empty, full = np.zeros((96, 96), np.uint8), np.full((96, 96), 255, np.uint8)
    assert ring(FOX, PIZZA, empty).pixels is PIZZA
    without = ring(FOX, PIZZA, full)
    assert without.pixels is PIZZA
    assert "no ring" in without.notes[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: match(FOX, PIZZA, "wavelets"), "did you mean 'wavelet'"),
        (lambda: wavelet(FOX, PIZZA[:50]), "scale it first"),
        (lambda: mean(FOX[..., 0], PIZZA), "colours are matched on"),
        (lambda: ring(FOX, PIZZA, hole()), "do not go together"),
        (lambda: ring(FOX, PIZZA, np.zeros((96, 96), np.uint8), field="cubic"), "unknown shift field"),
        (lambda: ring(FOX, PIZZA, np.zeros((96, 96), np.uint8), width=0), "at least 1 pixel"),
    ],
)
def test_bad_input_names_cause_and_mend(wrong, message):
    with pytest.raises(InputError, match=message):
        wrong()


def test_settling_gives_the_mean_back_and_leaves_what_has_not_moved():
    source = np.full((32, 32, 3), 255, np.uint8)
    source[8:30, 8:30] = [200, 90, 30]
    moved = source.copy()
    moved[8:30, 8:30] = [190, 100, 80]
    settled = settle(moved, source)
    assert (settled[:8] == 255).all()
    np.testing.assert_array_equal(settled.mean(axis=(0, 1)).round(), source.mean(axis=(0, 1)).round())
    np.testing.assert_array_equal(settle(source, source), source)
