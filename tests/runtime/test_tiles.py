"""Windows cover their area and blend back to what they were cut from."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from overpaint.runtime.imaging.tiles import blend, windows

LENGTHS = st.integers(1, 40).map(lambda n: 8 * n)


@given(LENGTHS, LENGTHS, st.sampled_from([32, 64, 128]), st.sampled_from([8, 16, 24]))
def test_windows_blend_to_the_whole(height: int, width: int, tile: int, overlap: int) -> None:
    area = np.random.default_rng(height).normal(size=(2, height, width)).astype(np.float32)
    parts = windows(height, width, tile, overlap, 8)
    joined = blend(area.shape, [(window, window.cut(area)) for window in parts], overlap)
    np.testing.assert_allclose(joined, area, atol=1e-5)
    assert all(window.height <= tile and window.width <= tile for window in parts)
    assert all(edge % 8 == 0 for window in parts for edge in (window.top, window.left))


@given(st.integers(10, 100), st.sampled_from([32, 64]), st.sampled_from([8, 16]))
def test_neighbours_share_the_overlap(cells: int, tile: int, overlap: int) -> None:
    lefts = [window.left for window in windows(8, 8 * cells, tile, overlap, 8)]
    assert all(left + tile - right >= overlap for left, right in itertools.pairwise(lefts))
