"""Tile geometry as data: overlapping windows over an area, and the feathered weights that blend them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import numpy as np

from ...engines.base import Array
from ...engines.buffers import namespace_of


@dataclass(frozen=True)
class Window:
    """A rectangle of an area, in that area's own units."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, array: Array) -> Array:
        """The window of `array` [..., height, width], a view."""
        return array[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def scaled(self, down: int) -> Window:
        """The same window in units that are `down` times as coarse."""
        return Window(*(length // down for length in (self.top, self.left, self.height, self.width)))

    def scaled_up(self, up: int) -> Window:
        """The same window in units that are `up` times as fine."""
        return Window(*(length * up for length in (self.top, self.left, self.height, self.width)))

    def within(self, other: Window) -> Window:
        """The same window, counted from the corner of another."""
        return Window(self.top - other.top, self.left - other.left, self.height, self.width)

    def inside(self, height: int, width: int, margin: int) -> Window:
        """What of the window lies at least `margin` from those of its edges that are not the area's."""
        top, left = self.top and self.top + margin, self.left and self.left + margin
        bottom, right = self.top + self.height, self.left + self.width
        bottom, right = bottom - margin * (bottom < height), right - margin * (right < width)
        return Window(top, left, bottom - top, right - left)


def windows(height: int, width: int, tile: int, overlap: int, multiple: int = 1) -> list[Window]:
    """Windows of at most `tile` x `tile` that cover the area, neighbours sharing at least `overlap`.

    Starts and sizes are multiples of `multiple` where the area's edges and `tile` are.
    """
    tops, lefts = (_starts(length, tile, overlap, multiple) for length in (height, width))
    return [Window(top, left, min(tile, height), min(tile, width)) for top in tops for left in lefts]


def _starts(length: int, tile: int, overlap: int, multiple: int) -> list[int]:
    """Evenly spread starts, rounded down to the multiple; the last window ends at the end."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    last = length - tile
    return [last * index // (count - 1) // multiple * multiple for index in range(count - 1)] + [last]


def blend(shape: tuple[int, ...], parts: Iterable[tuple[Window, Array]], overlap: int) -> Array:
    """The weighted mean of the parts, float32 of `shape` [..., height, width], on their device.

    A part's weight falls linearly towards each edge over `overlap`, so that no seam shows where parts differ. A single
    part that is the whole is returned as it is.
    """
    parts = iter(parts)
    window, part = next(parts)
    if part.shape == shape:
        return part
    parts = chain([(window, part)], parts)
    xp = namespace_of(part)
    total: Array = xp.zeros(shape, np.float32)
    weight = xp.zeros(shape[-2:], np.float32)
    for window, part in parts:
        mask = xp.asarray(np.outer(_ramp(window.height, overlap), _ramp(window.width, overlap)))
        window.cut(total)[...] += part * mask
        window.cut(weight)[...] += mask
    blended: Array = total / weight
    return blended


def _ramp(length: int, overlap: int) -> Array:
    position = np.arange(length, dtype=np.float32) + 1
    return np.minimum(np.minimum(position, position[::-1]), overlap + 1) / np.float32(overlap + 1)
