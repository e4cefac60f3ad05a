"""Do tile borders show? A score that says how much more the picture jumps there than beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ...engines.base import Array, InputError

LIMIT = 2.0
"""Scores above this are taken for seams."""

_REACH = 24
_SEGMENT = 32
_FLOOR = 0.25


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

    def over(self, limit: float = LIMIT) -> tuple[Line, ...]:
        """The borders whose score is above the limit."""
        return tuple(line for line in self.lines if line.score > limit)


def seams(pixels: Array, rows: Iterable[int], columns: Iterable[int]) -> Seams:
    """Score the borders before `rows` and `columns` of pixels uint8 [height, width, 3].

    The jump at a border is what is left of the step across it when the slopes on both sides are taken off. A seam's
    jump has one sign along it, a texture's has not: so it is averaged over segments of 32 pixels, and the mean of its
    size over the segments is compared with the median of the same over all parallel lines up to 24 pixels away, with a
    quarter of a level added to both for rounding. A step of s levels in a flat picture scores 1 + 4 s.

    Raises `InputError` for a border that is not inside the picture.
    """
    down = [Line("row", at, _score(pixels, at)) for at in rows]
    across = [Line("column", at, _score(pixels.transpose(1, 0, 2), at)) for at in columns]
    return Seams((*down, *across))


def _score(pixels: Array, at: int) -> float:
    """The score of the border before row `at`."""
    height = len(pixels)
    if not 2 <= at <= height - 2:
        raise InputError(f"a border before {at} has no two pixels on both sides within {height}; leave it out")
    first, last = max(at - _REACH, 2), min(at + _REACH, height - 2)
    jumps = _jumps(pixels[first - 2 : last + 2].astype(np.float32))
    away = np.abs(np.arange(first, last + 1) - at)
    beside = jumps[away > 2]
    usual = float(np.median(beside)) if beside.size else 0.0
    return (float(jumps[at - first]) + _FLOOR) / (usual + _FLOOR)


def _jumps(band: Array) -> Array:
    """The mean size of the jumps at each border of a band float32 [n + 3, length, 3], levels [n]."""
    slopes = np.diff(band, axis=0)
    jumps = slopes[1:-1] - (slopes[:-2] + slopes[2:]) / 2
    length = jumps.shape[1]
    edges = np.arange(0, max(length - _SEGMENT // 2, 1), _SEGMENT)
    sums = np.add.reduceat(jumps, edges, axis=1)
    means = sums / np.diff([*edges, length])[:, None]
    sizes: Array = np.abs(means).mean(axis=(1, 2))
    return sizes
