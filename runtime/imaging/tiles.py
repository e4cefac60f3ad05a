"""Tile geometry as data: overlapping windows over an area, and the feathered weights that blend them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from ...engines.base import Array, unknown
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

    @property
    def slices(self) -> tuple[slice, slice]:
        """The window of pixels [height, width, ...]: `pixels[window.slices]` is a view."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

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


RAMPS = ("linear", "cosine")
STRIP_PIXELS = 2**20


def strips(height: int, width: int) -> Iterator[slice]:
    """The rows of an area in strips of about `STRIP_PIXELS`, so that floats of a large picture stay few at a time."""
    rows = max(STRIP_PIXELS // max(width, 1), 1)
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


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


def blend(shape: tuple[int, ...], parts: Iterable[tuple[Window, Array]], overlap: int, ramp: str = "linear") -> Array:
    """The weighted mean of the parts, float32 of `shape` [..., height, width], on their device.

    A part's weight falls towards each edge over `overlap`, so that no seam shows where parts differ: along a "linear"
    ramp, or a "cosine" one, which has no kinks. A single part that is the whole is returned as it is.
    """
    if ramp not in RAMPS:
        raise unknown("ramp", ramp, RAMPS)
    parts = iter(parts)
    window, part = next(parts)
    if part.shape == shape:
        return part
    parts = chain([(window, part)], parts)
    xp = namespace_of(part)
    total: Array = xp.zeros(shape, np.float32)
    weight = xp.zeros(shape[-2:], np.float32)
    for window, part in parts:
        mask = xp.asarray(np.outer(_weights(window.height, overlap, ramp), _weights(window.width, overlap, ramp)))
        window.cut(total)[...] += part * mask
        window.cut(weight)[...] += mask
    blended: Array = total / weight
    return blended


def _weights(length: int, overlap: int, ramp: str) -> Array:
    position = np.arange(length, dtype=np.float32) + 1
    rise = np.minimum(np.minimum(position, position[::-1]), overlap + 1) / np.float32(overlap + 1)
    return rise if ramp == "linear" else np.float32(0.5) - np.cos(np.float32(np.pi) * rise) / 2


class Mosaic:
    """Windows over an area, in latents, that are worked on side by side and joined with smooth weights.

    Windows are at most `tile` x `tile`; neighbours share at least `overlap`, over which the one fades into the other.
    The weights sum to 1 everywhere, so that joining what was cut gives it back.
    """

    def __init__(self, height: int, width: int, tile: int, overlap: int, multiple: int = 1) -> None:
        self.windows = windows(height, width, tile, overlap, multiple)
        self._shape = height, width
        self._fades = [_fades(length, tile, overlap, multiple) for length in self._shape]

    def __len__(self) -> int:
        """The number of windows."""
        return len(self.windows)

    def cut(self, array: Array) -> list[Array]:
        """The windows of `array` [..., height, width], views."""
        return [window.cut(array) for window in self.windows]

    def join(self, parts: Sequence[Array]) -> Array:
        """The weighted sum of what the windows became, float32 [..., height, width], on their device."""
        xp = namespace_of(parts[0])
        total: Array = xp.zeros((*parts[0].shape[:-2], *self._shape), np.float32)
        rows, columns = self._fades
        for window, part in zip(self.windows, parts, strict=True):
            weights = np.outer(rows[window.top], columns[window.left])
            window.cut(total)[...] += part * xp.asarray(weights)
        return total


def _fades(length: int, tile: int, overlap: int, multiple: int) -> dict[int, Array]:
    """The weights along one axis of the window at each start, float32, which sum to 1 at every position."""
    starts, size = _starts(length, tile, overlap, multiple), min(tile, length)
    ramp = _weights(size, overlap, "cosine").astype(np.float64)
    total = np.zeros(length)
    for start in starts:
        total[start : start + size] += ramp
    return {start: (ramp / total[start : start + size]).astype(np.float32) for start in starts}
