"""Windows cover their area and blend back to what they were cut from."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overpaint.engines.base import InputError
from overpaint.runtime.imaging.tiles import RAMPS, blend, strips, windows

LENGTHS = st.integers(1, 40).map(lambda n: 8 * n)


@given(LENGTHS, LENGTHS, st.sampled_from([32, 64, 128]), st.sampled_from([8, 16, 24]), st.sampled_from(RAMPS))
def test_windows_blend_to_the_whole(height: int, width: int, tile: int, overlap: int, ramp: str) -> None:
    area = np.random.default_rng(height).normal(size=(2, height, width)).astype(np.float32)
    parts = windows(height, width, tile, overlap, 8)
    joined = blend(area.shape, [(window, window.cut(area)) for window in parts], overlap, ramp)
    np.testing.assert_allclose(joined, area, atol=1e-5)
    assert all(window.height <= tile and window.width <= tile for window in parts)
    assert all(edge % 8 == 0 for window in parts for edge in (window.top, window.left))


@given(st.integers(10, 100), st.sampled_from([32, 64]), st.sampled_from([8, 16]))
def test_neighbours_share_the_overlap(cells: int, tile: int, overlap: int) -> None:
    lefts = [window.left for window in windows(8, 8 * cells, tile, overlap, 8)]
    assert all(left + tile - right >= overlap for left, right in itertools.pairwise(lefts))


def test_an_unknown_ramp_is_refused() -> None:
    with pytest.raises(InputError, match="unknown ramp 'cosinus'; did you mean 'cosine'"):
        blend((8, 8), [], 2, "cosinus")


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_strips_are_all_rows_in_order(height: int, width: int) -> None:
    assert [row for rows in strips(height, width * 1000) for row in range(rows.start, rows.stop)] == list(range(height))
