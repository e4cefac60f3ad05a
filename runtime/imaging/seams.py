"""Do tile borders show? A score that says how much more the picture jumps there than beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ...engines.base import Array, InputError

LIMIT = 2.0
"""Scores above this are taken for seams."""

_REACH, _NEAR = 24, 3
_SEGMENT = 16
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
    jump has one sign along it, a texture's has not: so it is averaged over segments of 16 pixels, and the size of these
    averages over the segments, but for the quarter of the largest, where edges of the motif may lie along the border.
    That is compared with the same of the lines 2 and 3 pixels away, or of all up to 24 away where their median is
    higher, with a quarter of a level added to both for rounding. So a step of s levels in a flat picture scores
    1 + 4 s; a step that the picture's own structure hides scores about 1.

    Raises `InputError` for a border that is not inside the picture.
    """
    down = [Line("row", at, _score(pixels, at)) for at in rows]
    across = [Line("column", at, _score(pixels.transpose(1, 0, 2), at)) for at in columns]
    return Seams((*down, *across))


def _score(pixels: Array, at: int) -> float:
    """The score of the border before row `at`."""
    height = len(pixels)
    if not 0 < at < height:
        raise InputError(f"a border before {at} is not between two of {height} rows or columns; leave it out")
    first, last = max(at - _REACH, 1), min(at + _REACH, height - 1)
    band = pixels[np.clip(np.arange(first - 2, last + 2), 0, height - 1)]  # level beyond the picture's edges
    jumps = _jumps(band.astype(np.float32))
    away = np.abs(np.arange(first, last + 1) - at)
    beside, near = jumps[away > 1], jumps[(away > 1) & (away <= _NEAR)]
    usual = max(float(np.median(beside)), float(near.mean())) if near.size else 0.0
    return (float(jumps[at - first]) + _FLOOR) / (usual + _FLOOR)


def _jumps(band: Array) -> Array:
    """The size of the jumps, levels [n], at each border of a band float32 [n + 3, length, 3]."""
    slopes = np.diff(band, axis=0)
    jumps = slopes[1:-1] - (slopes[:-2] + slopes[2:]) / 2
    length = jumps.shape[1]
    edges = np.arange(0, max(length - _SEGMENT // 2, 1), _SEGMENT)
    means = np.add.reduceat(jumps, edges, axis=1) / np.diff([*edges, length])[:, None]
    sizes = np.sort(np.abs(means).mean(axis=2), axis=1)
    lower: Array = sizes[:, : len(edges) - len(edges) // 4].mean(axis=1)
    return lower
