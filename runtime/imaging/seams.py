"""Do tile borders show? A score that says how much more the picture jumps there than beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError

_REACH, _NEAR = 24, 2
_SEGMENT, _LONG = 16, 32
_FLOOR = 0.25
_STEPS, _RIDGES = (1, 2, 4, 8), (2, 4, 8)
_SIDE = 12


@dataclass(frozen=True)
class Line:
    """A border before the row or column `at`, where `axis` is "row" or "column", and its score."""

    axis: str
    at: int
    score: float


@dataclass(frozen=True)
class Seams:
    """The borders of a picture and their scores; about 1 is a border that does not show."""

    lines: tuple[Line, ...]

    @property
    def worst(self) -> float:
        """The highest score, 1 where there is no border."""
        return max((line.score for line in self.lines), default=1.0)

    def of(self, line: Line) -> float:
        """The score here of a line that another picture's scores have; 1 where there is no such line."""
        return next((own.score for own in self.lines if (own.axis, own.at) == (line.axis, line.at)), 1.0)

    def over(self, limit: float) -> tuple[Line, ...]:
        """The borders whose score is above the limit."""
        return tuple(line for line in self.lines if line.score > limit)


def seams(pixels: Array, rows: Iterable[int], columns: Iterable[int], original: Array | None = None) -> Seams:
    """Score the borders before `rows` and `columns` of pixels uint8 [height, width, 3].

    The jump at a border is what is left of the step across it when the slopes on both sides are taken off. A seam's
    jump has one sign along it, a texture's has not: so it is averaged over segments of 16 pixels, and the size of these
    averages over the segments, but for the quarter of the largest, where edges of the motif may lie along the border.
    That is compared with the same of the lines 2 and 3 pixels away, or of all up to 24 away where their median is
    higher, with a quarter of a level added to both for rounding. So a step of s levels in a flat picture scores
    1 + 4 s; a step that the picture's own structure hides scores about 1.

    With the `original` that was painted over, of the same shape, its structure is taken off first, and segments are of
    32 pixels. Then a border also scores for steps that are spread over 2, 4 and 8 pixels, as a tinted tile's with a
    soft edge is, and for lines of that width along it; and for a strip around it that has lost the detail that both its
    sides have. The highest counts.

    Raises `InputError` for a border that is not inside the picture, and an original of another shape.
    """
    if original is not None and original.shape != pixels.shape:
        raise InputError(f"pixels of {list(pixels.shape)} are no repaint of {list(original.shape)}; scale that first")
    down = [Line("row", at, _score(pixels, original, at)) for at in rows]
    turned = pixels.transpose(1, 0, 2), None if original is None else original.transpose(1, 0, 2)
    across = [Line("column", at, _score(*turned, at)) for at in columns]
    return Seams((*down, *across))


def _score(pixels: Array, original: Array | None, at: int) -> float:
    """The score of the border before row `at`."""
    height = len(pixels)
    if not 0 < at < height:
        raise InputError(f"a border before {at} is not between two of {height} rows or columns; leave it out")
    first, last = max(at - _REACH, 1), min(at + _REACH, height - 1)
    margin = 2 * _SIDE
    # Level beyond the picture's edges.
    rows = np.clip(np.arange(first - margin, last + margin + 1), 0, height - 1)
    band, places = pixels[rows].astype(np.float32), np.arange(first, last + 1) - at
    if original is None:
        return _stands_out(_steps(_segments(band, _SEGMENT), margin, len(places), 1), places, 1)
    sums = _segments(band - original[rows], _LONG)
    scores = [_stands_out(_steps(sums, margin, len(places), width), places, width) for width in _STEPS]
    scores += [_stands_out(_ridges(sums, margin, len(places), width), places, width) for width in _RIDGES]
    return max(*scores, _lost_detail(band, at - int(first) + margin))


def _segments(band: Array, length: int) -> Array:
    """The means along a band float32 [n, width, 3] over segments, summed over its rows: [n + 1, segments, 3]."""
    edges = np.arange(0, max(band.shape[1] - length // 2, 1), length)
    means = np.add.reduceat(band, edges, axis=1) / np.diff([*edges, band.shape[1]])[:, None]
    return np.concatenate([np.zeros_like(means[:1]), np.cumsum(means, axis=0, dtype=np.float64)])


def _mean(sums: Array, start: int, count: int, width: int) -> Array:
    """The means of `width` rows from each of `count` rows on."""
    means: Array = (sums[start + width : start + width + count] - sums[start : start + count]) / width
    return means


def _steps(sums: Array, start: int, count: int, width: int) -> Array:
    """Steps between `width` rows on both sides of each of `count` borders, less the mean of the slopes beyond them."""
    before, after, above, below = (_mean(sums, start + n * width, count, width) for n in (-1, 0, -2, 1))
    steps: Array = (after - before) * 1.5 - (below - above) / 2
    return steps


def _ridges(sums: Array, start: int, count: int, width: int) -> Array:
    """How far the `width` rows around each of `count` borders are from those on both sides of them."""
    start -= width // 2
    middle, above, below = (_mean(sums, start + n * width, count, width) for n in (0, -1, 1))
    ridges: Array = middle - (above + below) / 2
    return ridges


def _stands_out(jumps: Array, places: Array, width: int) -> float:
    """How much larger the jumps [n, segments, 3] are at place 0 than at those that see nothing of it."""
    sizes = np.sort(np.abs(jumps).mean(axis=2), axis=1)
    lower = sizes[:, : sizes.shape[1] - sizes.shape[1] // 4].mean(axis=1)
    away, clear = np.abs(places), max(2 * width, 2)
    near = lower[(away >= clear) & (away < clear + _NEAR)]
    usual = max(float(np.median(lower[away >= clear])), float(near.mean())) if near.size else 0.0
    return (float(lower[places == 0][0]) + _FLOOR) / (usual + _FLOOR)


def _lost_detail(band: Array, middle: int) -> float:
    """How much less the band float32 [n, width, 3] varies along 4 rows in its middle than on both sides of them."""
    variation = np.abs(np.diff(band, axis=1, append=band[:, -1:]))
    sums = _segments(variation, _LONG).mean(axis=2)
    at, above, below = (
        (sums[start + length] - sums[start]) / length
        for start, length in ((middle - 2, 4), (middle - 2 * _SIDE, _SIDE), (middle + _SIDE, _SIDE))
    )
    return float(np.median((np.minimum(above, below) + 4 * _FLOOR) / (at + 4 * _FLOOR)))
