"""Tile geometry as data: overlapping windows over an area, and the smooth weights that join them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...bundles.tensor import Array
from ...engines.arrays import namespace_of


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


STRIP_PIXELS = 2**20


def strips(height: int, width: int) -> Iterator[slice]:
    """The rows of an area in strips of about `STRIP_PIXELS`, so that floats of a large picture stay few at a time."""
    rows = max(STRIP_PIXELS // max(width, 1), 1)
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


Sides = int | tuple[int, int]


def windows(height: int, width: int, tile: Sides, overlap: int, multiple: int = 1) -> list[Window]:
    """Windows of at most `tile` x `tile`, or (height, width), that cover the area, row by row, neighbours sharing at
    least `overlap`.

    Starts and sizes are multiples of `multiple` where the area's edges and `tile` are; so is what an overlap of nearly
    a tile can come to.
    """
    high, wide = _sides(tile)
    tops, lefts = _starts(height, high, overlap, multiple), _starts(width, wide, overlap, multiple)
    return [Window(top, left, min(high, height), min(wide, width)) for top in tops for left in lefts]


def fitted(length: int, tile: int, overlap: int, multiple: int = 1) -> int:
    """The least side of windows that cover a length in as many as those of `tile` do: nothing is done twice for no use.

    It is a multiple of `multiple`, as `overlap` has to be.
    """
    count = len(_starts(length, tile, overlap, multiple))
    return -(-(length + (count - 1) * overlap) // (count * multiple)) * multiple


def _sides(tile: Sides) -> tuple[int, int]:
    return tile if isinstance(tile, tuple) else (tile, tile)


def _starts(length: int, tile: int, overlap: int, multiple: int) -> list[int]:
    """Evenly spread starts, rounded down to the multiple; the last window ends at the end."""
    if length <= tile:
        return [0]
    overlap = min(-(-overlap // multiple) * multiple, tile - multiple)
    count = -(-(length - overlap) // (tile - overlap))
    last = length - tile
    return [last * index // (count - 1) // multiple * multiple for index in range(count - 1)] + [last]


class Mosaic:
    """Windows over an area that are worked on one by one and joined with smooth weights.

    Windows are at most `tile` x `tile`, or (height, width); neighbours share at least `overlap`, over which the one
    fades into the other along a cosine, which has no kinks. The weights sum to 1 everywhere, so that joining what was
    cut gives it back.
    """

    def __init__(self, height: int, width: int, tile: Sides, overlap: int, multiple: int = 1) -> None:
        self.windows = windows(height, width, tile, overlap, multiple)
        self._shape = height, width
        sides = zip(self._shape, _sides(tile), strict=True)
        self._fades = [_fades(length, side, overlap, multiple) for length, side in sides]
        self._home: Any = np

    def __len__(self) -> int:
        """The number of windows."""
        return len(self.windows)

    @property
    def edges(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The first rows, and the first columns, before which a window begins or after which one ends, inside."""
        found = []
        for length, fades in zip(self._shape, self._fades, strict=True):
            ends = {start + len(fade) for start, fade in fades.items()}
            found.append(tuple(sorted((fades.keys() | ends) - {0, length})))
        return found[0], found[1]

    def cut(self, array: Array) -> list[Array]:
        """The windows of `array` [..., height, width], views."""
        return [window.cut(array) for window in self.windows]

    def add(self, total: Array | None, index: int, part: Array) -> Array:
        """What was joined so far, float32 [..., height, width], None for nothing, with window `index`'s part added.

        Only rounding depends on the order.
        """
        if total is None:
            total = namespace_of(part).zeros((*part.shape[:-2], *self._shape), np.float32)
        self._put(total, 0, self.windows[index], part)
        return total

    def rows(self, parts: Iterable[Array]) -> Iterator[tuple[int, Array]]:
        """The windows' parts [..., height, width], in their order, joined: the first row and the rows [..., n, width]
        as soon as no window will change them, so that no more is held than what one row of windows covers.

        Rows are float32, and valid until the next are asked for.
        """
        join = self.joining()
        next(join)
        for part in parts:
            if (done := join.send(part)) is not None:
                yield done

    def joining(self) -> Generator[tuple[int, Array] | None, Array, None]:
        """`rows` for parts that are sent in one by one: it gives what is done by each, or None."""
        if len(self) == 1:
            part = yield None
            yield 0, part.astype(np.float32, copy=False)
            return
        tops, columns = list(self._fades[0]), len(self._fades[1])
        band: Array | None = None
        done: tuple[int, Array] | None = None
        for index, top in enumerate(tops):
            for window in self.windows[index * columns : (index + 1) * columns]:
                part = yield done
                if band is None:
                    band = namespace_of(part).zeros((*part.shape[:-1], self._shape[1]), np.float32)
                if done is not None:
                    _move_up(band, done[1].shape[-2])
                    done = None
                self._put(band, top, window, part)
            assert band is not None
            below = tops[index + 1] if index + 1 < len(tops) else self._shape[0]
            done = top, band[..., : below - top, :]
        yield done

    def _put(self, total: Array, first: int, window: Window, part: Array) -> None:
        """Add a part, weighed, to `total`, whose first row is the area's row `first`."""
        rows, columns = self._placed(namespace_of(part))
        fade = rows[window.top][:, None] * columns[window.left]
        Window(window.top - first, window.left, window.height, window.width).cut(total)[...] += part * fade

    def _placed(self, xp: Any) -> list[dict[int, Array]]:
        """The fades on the parts' device, copied there once."""
        if self._home is not xp:
            self._fades = [{start: xp.asarray(fade) for start, fade in fades.items()} for fades in self._fades]
            self._home = xp
        return self._fades


def _move_up(band: Array, rows: int) -> None:
    """Drop the first rows of a band [..., height, width], and make place for as many at its end."""
    kept = band[..., rows:, :].copy()
    band[...] = 0
    band[..., : kept.shape[-2], :] = kept


def _fades(length: int, tile: int, overlap: int, multiple: int) -> dict[int, Array]:
    """The weights along one axis of the window at each start, float32, which sum to 1 at every position."""
    starts, size = _starts(length, tile, overlap, multiple), min(tile, length)
    position = np.arange(size) + 1
    rise = np.minimum(np.minimum(position, position[::-1]), overlap + 1) / (overlap + 1)
    ramp = 0.5 - np.cos(np.pi * rise) / 2
    total = np.zeros(length)
    for start in starts:
        total[start : start + size] += ramp
    return {start: (ramp / total[start : start + size]).astype(np.float32) for start in starts}
