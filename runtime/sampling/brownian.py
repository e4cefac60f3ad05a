"""Brownian motions that a seed decides, whatever is asked of them and in which order: those of torchsde."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ...bundles.tensor import Array
from .noise import NoiseStream

_DIGITS = 6
"""Times are rounded to so many decimals: torchsde's `tol` of 1e-6."""
_POOL = 24
_KEPT = 64
"""How many halves are kept; the two ends of a step have about 24 each, one end is the last step's."""


@dataclass(frozen=True)
class _Piece:
    """A part of a motion's time: number `key` of the 2**`depth` that halving makes."""

    start: float
    end: float
    key: int = 0
    depth: int = 0

    def halves(self) -> tuple[_Piece, _Piece]:
        middle, depth = round(0.5 * (self.end + self.start), _DIGITS), self.depth + 1
        return _Piece(self.start, middle, 2 * self.key, depth), _Piece(middle, self.end, 2 * self.key + 1, depth)


class BrownianTree:
    """The Brownian motion of torchsde.BrownianTree (Li et al., "Scalable Gradients for SDEs", arXiv:2001.01328).

    It runs from time `low` to `high`. Its whole increment and every half of a half are normals of a generator of their
    own, whose 32-bit seed is numpy's SeedSequence of `seed` and of the place: `normals` makes the generator's draw,
    float32. Results are float32 and, with torch's normals, equal to torchsde's.
    """

    def __init__(self, normals: Callable[[int], Array], seed: int, low: float, high: float) -> None:
        self._normals = normals
        self._seed = seed
        self._whole = _Piece(round(low, _DIGITS), round(high, _DIGITS))
        self._increment = normals(self._state()) * np.float32(math.sqrt(high - low))
        self._lefts: OrderedDict[_Piece, Array] = OrderedDict()

    def __call__(self, low: float, high: float) -> Array:
        """The increment from time `low` to `high`, as far as they lie in the motion's time."""
        low, high = (min(max(round(t, _DIGITS), self._whole.start), self._whole.end) for t in (low, high))
        if low >= high:
            return np.zeros_like(self._increment)
        first, *rest = self._parts(self._whole, self._increment, low, high)
        for part in rest:
            first = first + part
        return first

    def _parts(self, piece: _Piece, increment: Array, low: float, high: float) -> Iterator[Array]:
        """The increments of the largest pieces that make up `low` to `high`, in their order."""
        if (low, high) == (piece.start, piece.end):
            yield increment
            return
        left, right = piece.halves()
        first = self._left(piece, left, increment)
        if low < left.end:
            yield from self._parts(left, first, low, min(high, left.end))
        if high > right.start:
            yield from self._parts(right, increment - first, max(low, right.start), high)

    def _left(self, piece: _Piece, left: _Piece, increment: Array) -> Array:
        """The increment of a piece's first half under that of the whole: a Brownian bridge."""
        if piece in self._lefts:
            self._lefts.move_to_end(piece)
            return self._lefts[piece]
        before, after, share = left.end - piece.start, piece.end - left.end, 1 / (piece.end - piece.start)
        spread = math.sqrt(before * after * share)
        mean = np.float32(before) * increment * np.float32(share)
        self._lefts[piece] = mean + np.float32(spread) * self._normals(self._state(piece.key, piece.depth))
        if len(self._lefts) > _KEPT:
            self._lefts.popitem(last=False)
        return self._lefts[piece]

    def _state(self, *place: int) -> int:
        return int(np.random.SeedSequence(self._seed, spawn_key=place, pool_size=_POOL).generate_state(1)[0])


class BrownianNoise:
    """Unit normal noise as increments of a Brownian motion in sigma: k-diffusion's BrownianTreeNoiseSampler.

    `stream` makes the noise stream of a seed; each of the motion's normals is the first draw of one.
    """

    def __init__(self, stream: Callable[[int], NoiseStream], seed: int) -> None:
        self._stream = stream
        self._seed = seed
        self._key: tuple[object, ...] = ()

    def __call__(self, shape: tuple[int, ...], increment: Array, span: Array) -> Array:
        """Noise of `shape` for a step between the sigmas of `increment`, (from, to), of the motion over `span`.

        Sigmas are taken as float32, as the other programs' are.
        """
        (high, low), (top, bottom) = increment.astype(np.float32), span.astype(np.float32)
        if self._key != (shape, top, bottom):
            self._key = shape, top, bottom
            self._tree = BrownianTree(lambda seed: self._stream(seed)(shape), self._seed, float(bottom), float(top))
        noise: Array = -self._tree(float(low), float(high)) / np.sqrt(high - low)
        return noise
