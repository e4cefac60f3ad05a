"""Philox, the generator of random numbers by counter, and normals of its words as CUDA makes them."""

from __future__ import annotations

import math

import numpy as np

from ...bundles.tensor import Array

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_TURN = np.float32(2 * math.pi)


def philox(seed: int, *counter: Array) -> tuple[Array, Array, Array, Array]:
    """Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).

    `counter` is four uint64 arrays of 32-bit words that broadcast together, the low word first; so are the results.
    """
    low, high = seed & _WORD, seed >> 32
    a, b, c, d = counter
    for _ in range(10):
        first, second = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b, c, d = (second >> 32) ^ b ^ low, second & _WORD, (first >> 32) ^ d ^ high, first & _WORD
        low, high = (low + _WEYL[0]) & _WORD, (high + _WEYL[1]) & _WORD
    return a, b, c, d


def normals(words: tuple[Array, Array, Array, Array]) -> Array:
    """Four float32 normals [4, ...] from four 32-bit words, as curand_normal4 makes them."""
    return np.stack([*_box_muller(words[0], words[1]), *_box_muller(words[2], words[3])])


def _box_muller(first: Array, second: Array) -> tuple[Array, Array]:
    radius = np.sqrt(-2 * np.log(_unit(first, 1.0)))
    angle = _unit(second, float(_TURN))
    return radius * np.sin(angle), radius * np.cos(angle)


def _unit(words: Array, scale: float) -> Array:
    """Words as float32 in (0, scale], rounded where curand rounds: to float32, then once after multiply and add."""
    step = scale * 2**-32
    return (words.astype(np.float32).astype(np.float64) * step + step / 2).astype(np.float32)


def counters(start: int, count: int) -> Array:
    """A part of a counter: `count` 32-bit words from `start` on, as uint64."""
    return (np.arange(start, start + count) & _WORD).astype(np.uint64)
