"""Windows cover their area and join to what they were cut from."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from overpaint.runtime.imaging.tiles import Mosaic, fitted, strips, windows

LENGTHS = st.integers(1, 40).map(lambda n: 8 * n)


@given(LENGTHS, LENGTHS, st.sampled_from([32, 64, 128]), st.integers(0, 31))
def test_windows_join_to_the_whole(height: int, width: int, tile: int, overlap: int) -> None:
    area = np.random.default_rng(height).normal(size=(2, height, width)).astype(np.float32)
    mosaic = Mosaic(height, width, tile, overlap, 8)
    total = None
    for index, part in reversed(list(enumerate(mosaic.cut(area)))):
        total = mosaic.add(total, index, part)
    assert total is not None
    np.testing.assert_allclose(total, area, atol=1e-5)
    assert all(window.height <= tile and window.width <= tile for window in mosaic.windows)
    assert all(edge % 8 == 0 for window in mosaic.windows for edge in (window.top, window.left))


@given(LENGTHS, LENGTHS, st.sampled_from([32, 64]), st.integers(0, 31))
def test_rows_come_in_order_as_soon_as_they_are_done(height: int, width: int, tile: int, overlap: int) -> None:
    area = np.random.default_rng(height).normal(size=(2, height, width)).astype(np.float32)
    mosaic = Mosaic(height, width, tile, overlap, 8)
    bands = [(top, rows.copy()) for top, rows in mosaic.rows(mosaic.cut(area))]
    assert [top for top, _ in bands] == sorted({window.top for window in mosaic.windows})
    np.testing.assert_allclose(np.concatenate([rows for _, rows in bands], axis=1), area, atol=1e-5)


@given(st.integers(10, 100), st.sampled_from([32, 64]), st.sampled_from([8, 16]))
def test_neighbours_share_the_overlap(cells: int, tile: int, overlap: int) -> None:
    lefts = [window.left for window in windows(8, 8 * cells, tile, overlap, 8)]
    assert all(left + tile - right >= overlap for left, right in itertools.pairwise(lefts))


def test_windows_have_edges_inside() -> None:
    assert Mosaic(64, 32, 32, 8, 8).edges == ((16, 32, 48), ())


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_strips_are_all_rows_in_order(height: int, width: int) -> None:
    assert [row for rows in strips(height, width * 1000) for row in range(rows.start, rows.stop)] == list(range(height))


@given(LENGTHS, st.sampled_from([32, 64, 128]), st.sampled_from([0, 8, 16]))
def test_fitted_windows_are_as_many_and_no_larger(length: int, tile: int, overlap: int) -> None:
    side = fitted(length, tile, overlap, 8)
    assert side <= tile
    assert side % 8 == 0
    assert len(windows(length, 8, (side, 8), overlap, 8)) == len(windows(length, 8, tile, overlap, 8))
