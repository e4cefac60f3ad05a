"""What is outside the mask is the original's bit for bit, and the certificate says so from the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overpaint.errors import InputError
from overpaint.runtime.imaging import compose, tiles
from overpaint.runtime.imaging.compose import Certificate, certify, paste

RNG = np.random.default_rng(0)
sides = st.integers(1, 60)
channels = st.sampled_from([(), (1,), (3,), (4,)])


def levels(*shape):
    return RNG.integers(0, 256, shape, np.uint8)


def some_mask(height, width):
    return levels(height, width) * (levels(height, width) > 128)


@settings(max_examples=100, deadline=None)
@given(sides, sides, channels, st.integers(1, 200))
def test_paste_is_exact_outside_and_where_full(height, width, channel, strip):
    original, repainted = levels(height, width, *channel), levels(height, width, *channel)
    mask = some_mask(height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "STRIP_PIXELS", strip)
        result = paste(original, repainted, mask)
        certificate = certify(original, result, mask)
    np.testing.assert_array_equal(result[mask == 0], original[mask == 0])
    np.testing.assert_array_equal(result[mask == 255], repainted[mask == 255])
    weight = mask.reshape(*mask.shape, *[1] * len(channel)) / 255
    np.testing.assert_allclose(result, original * (1 - weight) + repainted * weight, atol=0.5 + 1e-9)
    assert certificate.exact
    assert certificate.kept == (mask == 0).sum()
    assert certificate.masked == (mask > 0).sum()
    assert certificate.changed == (result != original).reshape(height, width, -1).any(axis=2).sum()


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_mixing_rounds_to_nearest_and_leaves_what_is_equal(old, new, weight):
    one = lambda level: np.full((1, 1), level, np.uint8)  # noqa: E731
    exact = (old * (255 - weight) + new * weight) / 255
    assert abs(int(paste(one(old), one(new), one(weight))[0, 0]) - exact) <= 0.5
    assert paste(one(old), one(old), one(weight))[0, 0] == old


@settings(max_examples=30, deadline=None)
@given(sides, sides)
def test_alpha_is_kept(height, width):
    original, repainted, mask = levels(height, width, 4), levels(height, width, 3), some_mask(height, width)
    result = paste(original, repainted, mask)
    np.testing.assert_array_equal(result[..., 3], original[..., 3])
    np.testing.assert_array_equal(result[..., :3], paste(original[..., :3], repainted, mask))


@settings(max_examples=30, deadline=None)
@given(sides, sides)
def test_what_is_repainted_shows_as_it_was_seen(height, width):
    original, repainted, mask = levels(height, width, 4), levels(height, width, 3), some_mask(height, width)
    on_white = lambda made: 255 + (made[..., :3] - 255.0) * made[..., 3:] / 255  # noqa: E731
    seen = paste(on_white(original).round().astype(np.uint8), repainted, mask)
    result = compose.reveal(original, seen, mask)
    np.testing.assert_array_equal(result[mask == 0], original[mask == 0])
    np.testing.assert_array_equal(result[mask == 255], np.dstack([repainted, np.full_like(mask, 255)])[mask == 255])
    assert (result[..., 3] >= original[..., 3]).all()
    np.testing.assert_allclose(on_white(result)[mask > 0], seen[mask > 0], atol=1.5)


def test_an_empty_mask_changes_nothing_and_a_full_one_all():
    original, repainted = levels(9, 7, 3), levels(9, 7, 3)
    np.testing.assert_array_equal(paste(original, repainted, np.zeros((9, 7), np.uint8)), original)
    np.testing.assert_array_equal(paste(original, repainted, np.full((9, 7), 255, np.uint8)), repainted)


def test_a_certificate_finds_what_leaked():
    original, mask = levels(9, 7, 3), np.zeros((9, 7), np.uint8)
    mask[2:4, 2:4] = 255
    result = original.copy()
    result[0, 0, 1] ^= 4
    result[2, 2, 0] ^= 1
    assert certify(original, result, mask) == Certificate(masked=4, kept=59, changed=1, largest_outside=4)
    assert not certify(original, result, mask).exact


@pytest.mark.parametrize(
    ("original", "other", "mask", "message"),
    [
        (levels(4, 4, 3), levels(4, 5, 3), levels(4, 4), "do not go into"),
        (levels(4, 4, 3), levels(4, 4, 4), levels(4, 4), "do not go into"),
        (levels(4, 4, 3), levels(4, 4, 3), levels(5, 4), "a mask of shape"),
        (levels(4, 4, 3), levels(4, 4, 3), levels(4, 4) / 255, "uint8"),
    ],
)
def test_what_does_not_go_together_is_refused(original, other, mask, message):
    with pytest.raises(InputError, match=message):
        paste(original, other, mask)


def test_a_certificate_wants_all_channels():
    with pytest.raises(InputError, match="all channels"):
        compose.certify(levels(4, 4, 4), levels(4, 4, 3), levels(4, 4))
