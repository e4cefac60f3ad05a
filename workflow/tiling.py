"""Arrays processed in tiles with faded edges, as ComfyUI's tiled VAE nodes do it.

The mean of three passes: square tiles, tiles of half the width and twice the height, and of twice the width and half
the height, so that seams of one are not those of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np

from ..bundles.tensor import Array
from ..errors import InputError

Sides = tuple[int, int]


@dataclass(frozen=True)
class Tiling:
    """The side of a square tile and the overlap of neighbours, in cells of the input; an output is `scale` as large."""

    tile: int
    overlap: int
    scale: Fraction

    def __post_init__(self) -> None:
        """Raise `InputError` for an overlap that leaves the narrower tiles nothing of their own."""
        if self.overlap >= self.tile // 2:
            raise InputError(f"overlap must be less than half of tile_size, {self.tile // 2}, not {self.overlap}")

    def run(self, source: Array, call: Callable[[Array], Array]) -> Array:
        """What `call` makes of an array [height, width, channels] in tiles, the mean of the three passes."""
        half, double = self.tile // 2, self.tile * 2
        shapes = ((self.tile, self.tile), (double, half), (half, double))
        made = [self._pass(source, shape, call) for shape in shapes]
        whole: Array = np.stack(made).mean(axis=0, dtype=np.float32)
        return whole

    def _pass(self, source: Array, shape: Sides, call: Callable[[Array], Array]) -> Array:
        sides = source.shape[:2]
        if all(side <= tile for side, tile in zip(sides, shape, strict=True)):
            return call(source)
        summed: Array | None = None
        weights = np.zeros((*map(self._scaled, sides), 1), np.float32)
        for top, left in product(*map(self._starts, sides, shape)):
            made = call(source[top : top + shape[0], left : left + shape[1]])
            mask = self._fade(made.shape[0])[:, None, None] * self._fade(made.shape[1])[None, :, None]
            if summed is None:
                summed = np.zeros((*weights.shape[:2], made.shape[2]), np.float32)
            rows, columns = self._scaled(top), self._scaled(left)
            place = np.s_[rows : rows + made.shape[0], columns : columns + made.shape[1]]
            summed[place] += made * mask
            weights[place] += mask
        assert summed is not None
        return summed / weights

    def _starts(self, side: int, tile: int) -> Iterator[int]:
        if side <= tile:
            return iter((0,))
        return iter(range(0, side - self.overlap, tile - self.overlap))

    def _fade(self, length: int) -> Array:
        """The weights along an edge of a tile: rising over the overlap at both ends, where that is less than all."""
        faded, width = np.ones(length, np.float32), self._scaled(self.overlap)
        if width < length:
            ramp = (np.arange(width, dtype=np.float32) + 1) / np.float32(max(width, 1))
            faded[:width] *= ramp
            faded[length - width :] *= ramp[::-1]
        return faded

    def _scaled(self, cells: int) -> int:
        return round(cells * self.scale)
