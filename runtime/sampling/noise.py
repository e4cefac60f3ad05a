"""Unit normal noise that other programs' seeds reproduce, and noise that is a function of position, in numpy."""

from __future__ import annotations

import math
import secrets
from typing import Protocol

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError, unknown
from .philox import counters, normals, philox

_WORD = 0xFFFFFFFF
_TURN = np.float32(2 * math.pi)

# Of two columns' directions; there the sphere is flat.
_PARALLEL = 0.9995

_STRIP = 2**16

KINDS = ("cpu", "gpu", "field")


class NoiseStream(Protocol):
    """A generator of unit normal noise; each call is its next draw."""

    def __call__(self, shape: tuple[int, ...], origin: tuple[int, int] = (0, 0)) -> Array:
        """Draw float32 noise of `shape`.

        `origin` is the (y, x) of the draw's first element, in elements, negative values allowed. Only `field` noise
        depends on it; the other kinds know no position, they depend on the order and the size of the draws.
        """
        ...


def noise_stream(
    kind: str, seed: int, *, gpu_threads: int | None = None, origin: tuple[int, int] = (0, 0)
) -> NoiseStream:
    """A stream of the `kind` "cpu" (`TorchCPU`), "gpu" (`TorchCUDA`) or "field" (`Field`), at its beginning.

    `gpu_threads` belongs to "gpu", see `TorchCUDA`, and `origin` to "field". Raises `InputError` for an unknown kind
    and a seed out of range.
    """
    seed = check_seed(seed)
    match kind:
        case "cpu":
            return TorchCPU(seed)
        case "gpu":
            return TorchCUDA(seed, gpu_threads)
        case "field":
            return Field(seed, origin)
    raise unknown("noise", kind, KINDS)


def slerp(share: float, low: Array, high: Array) -> Array:
    """Noise `share` of the way on the sphere from `low` to `high`, both float32 [channels, height, width].

    Shoemake, "Animating rotation with quaternion curves", 1985; column by column of each channel, as A1111's variation
    seeds do it, and linear where the columns' directions are nearly the same.
    """
    lengths = [np.linalg.norm(noise, axis=1, keepdims=True) for noise in (low, high)]
    cosine = (low / lengths[0] * (high / lengths[1])).sum(axis=1, keepdims=True)
    if cosine.mean() > _PARALLEL:
        return low * np.float32(1 - share) + high * np.float32(share)
    angle = np.arccos(np.clip(cosine, -1, 1))
    # Columns of one position are parallel or opposite, where no great circle is defined.
    round_, sine = (np.sin(angle) > 1e-3), np.maximum(np.sin(angle), 1e-3)
    ours, theirs = (np.where(round_, np.sin(part * angle) / sine, np.float32(part)) for part in (1 - share, share))
    return np.asarray(ours * low + theirs * high, np.float32)


def centred(noise: Array, around: Array) -> Array:
    """Noise laid on the middle of other noise, both float32 [channels, height, width]; what lies beyond is cut off.

    The middle is A1111's (modules/rng.py): half the difference of the sides, rounded down, along each axis.
    """
    joined = around.copy()
    into, out = [slice(None)], [slice(None)]
    for inner, outer in zip(noise.shape[1:], around.shape[1:], strict=True):
        offset = (outer - inner) // 2
        # A1111 takes 2 * offset off a larger noise, of which rounding down makes one too many where that is odd.
        length = inner if offset >= 0 else inner + 2 * offset
        into.append(slice(max(offset, 0), max(offset, 0) + length))
        out.append(slice(max(-offset, 0), max(-offset, 0) + length))
    joined[tuple(into)] = noise[tuple(out)]
    return joined


def check_seed(seed: int) -> int:
    """`seed` as an int; raises `InputError` unless it is a whole number, 0 <= seed < 2**64.

    That is the range of torch's and A1111's generators. -1 for "any" is the caller's to replace, see `drawn`.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise InputError(f"seed is {seed!r}; give a whole number from 0 to 2**64 - 1")
    if not 0 <= seed < 2**64:
        raise InputError(f"seed {seed} is out of range; give a whole number from 0 to 2**64 - 1")
    return int(seed)


def drawn(seed: int) -> int:
    """The seed; one that is drawn for -1. Raises `InputError` as `check_seed` does."""
    if isinstance(seed, int | np.integer) and seed == -1:
        return secrets.randbelow(2**32)
    return check_seed(seed)


class TorchCPU:
    """The noise of `torch.randn` with a CPU generator of the same seed, to float32 rounding.

    MT19937 seeded with the low 32 bits of the seed. Draws of 16 values and more are Box-Muller pairs of 24-bit
    uniforms in blocks of 16 (8 radii, then 8 angles), where a last partial block is drawn anew as the last 16 values;
    smaller draws are made one by one in double precision, and an odd one leaves a value over for the next of them
    (torch: ATen/native/cpu/DistributionTemplates.h, ATen/core/DistributionsHelper.h).
    """

    def __init__(self, seed: int) -> None:
        self._twister = np.random.RandomState(seed & _WORD)
        self._left_over = np.empty(0)

    def __call__(self, shape: tuple[int, ...], origin: tuple[int, int] = (0, 0)) -> Array:
        """Draw float32 noise of `shape`; `origin` is not heeded."""
        count = math.prod(shape)
        values = self._blocks(count) if count >= 16 else self._singles(count)
        return values.astype(np.float32).reshape(shape)

    def _words(self, count: int) -> Array:
        return self._twister.randint(0, 2**32, size=count, dtype=np.uint32)

    def _blocks(self, count: int) -> Array:
        whole = count - count % 16
        values = self._block_normals(self._words(count)[:whole])
        if whole < count:
            values = np.concatenate([values[: count - 16], self._block_normals(self._words(16))])
        return values

    @staticmethod
    def _block_normals(words: Array) -> Array:
        uniforms = (words & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)
        first, second = uniforms.reshape(-1, 2, 8).swapaxes(0, 1)
        radius, angle = np.sqrt(-2 * np.log(1 - first)), _TURN * second
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)

    def _singles(self, count: int) -> Array:
        pairs = max(0, count - len(self._left_over) + 1) // 2
        high, low = self._words(4 * pairs).astype(np.uint64).reshape(-1, 2).T
        uniforms = (((high << 32) | low) & (2**53 - 1)).astype(np.float64) * 2**-53
        first, second = uniforms.reshape(-1, 2).T
        radius, angle = np.sqrt(-2 * np.log1p(-second)), 2 * np.pi * first
        fresh = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
        values = np.concatenate([self._left_over, fresh])
        self._left_over = values[count:]
        return values[:count]


class TorchCUDA:
    """The noise of `torch.randn` with a CUDA generator of the same seed, as A1111's "GPU" noise also makes it.

    Philox4x32-10 with the seed as key. On a GPU that holds T threads (its multiprocessors x the threads each can hold)
    element i is made by thread i modulo T, whose subsequence has its number. Up to T elements each is the first of the
    four normals of counter (draw, 0, i, 0); larger draws use the others too, T elements apart, and go on to
    the next counters (torch 2.13: ATen/native/cuda/DistributionTemplates.h, calc_execution_policy and
    distribution_elementwise_grid_stride_kernel; curand_normal4). So torch's own noise differs between GPUs where a
    draw exceeds T (40,960 on a T4, 196,608 on an RTX 4090, 221,184 on an A100; a 512x512 picture draws 16,384).

    `threads` is that T. None is A1111's rule (modules/rng_philox.py), T without limit: the same on every machine.
    """

    def __init__(self, seed: int, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise InputError(f"gpu_threads is {threads}; give the threads the GPU holds, or None for A1111's rule")
        self._seed = seed
        self._threads = threads
        self._counter = 0

    def __call__(self, shape: tuple[int, ...], origin: tuple[int, int] = (0, 0)) -> Array:
        """Draw float32 noise of `shape`; `origin` is not heeded."""
        count = math.prod(shape)
        if count == 0:
            return np.empty(shape, np.float32)
        threads = min(count, self._threads or count)
        rounds = -(-count // (4 * threads))
        draws = counters(self._counter, rounds)[:, None]
        self._counter += rounds
        drawn = normals(philox(self._seed, draws, counters(0, 1), counters(0, threads), counters(0, 1)))
        return drawn.swapaxes(0, 1).reshape(-1)[:count].reshape(shape)


class Field:
    """Noise keyed by seed, draw and absolute position: a window drawn at its origin is that window of a larger draw.

    The last two axes of a draw are y and x, those before count planes. Four successive planes are the four normals
    of the Philox4x32-10 counter (x, y, plane // 4, draw) under the seed as key. The origins of all draws count from
    the stream's own (y, x).
    """

    def __init__(self, seed: int, origin: tuple[int, int] = (0, 0)) -> None:
        self._seed = seed
        self._origin = origin
        self._draw = 0

    def __call__(self, shape: tuple[int, ...], origin: tuple[int, int] = (0, 0)) -> Array:
        """Draw float32 noise of `shape` [..., height, width] for the window at `origin` (y, x)."""
        *leading, height, width = shape
        planes = math.prod(leading)
        groups = counters(0, -(-planes // 4))[:, None, None]
        top, left = (own + given for own, given in zip(self._origin, origin, strict=True))
        columns = counters(left, width)
        drawn = np.empty((planes, height, width), np.float32)
        # In strips: Philox' words of a whole large draw would be many times its size.
        step = max(_STRIP // max(width * len(groups), 1), 1)
        for first in range(0, height, step):
            rows = counters(top + first, min(step, height - first))[:, None]
            strip = normals(philox(self._seed, columns, rows, groups, counters(self._draw, 1)))
            drawn[:, first : first + step] = strip.swapaxes(0, 1).reshape(-1, len(rows), width)[:planes]
        self._draw += 1
        return drawn.reshape(shape)
