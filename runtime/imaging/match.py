"""Matching a result's colours to those of the picture it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError, unknown
from .lab import RANGES, from_lab, to_lab
from .tiles import strips

_BINS = 4096
_LEVELS = 5
_HALO = 2**_LEVELS - 1
_MOST = 3


def match(pixels: Array, source: Array, method: str) -> Array:
    """Pixels uint8 [height, width, 3] with colours matched to those of `source`, by a method of `METHODS`.

    Raises `InputError` for an unknown method, and as the methods do.
    """
    if method not in METHODS:
        raise unknown("colour match", method, METHODS)
    return METHODS[method](pixels, source)


def histogram(pixels: Array, source: Array, luminance: float = 0.0) -> Array:
    """Pixels uint8 [height, width, 3] with the histograms, a channel of LAB, of `source` uint8 [.., .., 3].

    `luminance` is how much of the change of L* is made: none of it keeps the result's own light and shade, as A1111's
    colour correction does by its luminosity blend.
    """
    _check(pixels, source)
    ours, theirs = _counts(pixels), _counts(source)
    shifts = [_shift(*each) for each in zip(ours, theirs, RANGES, strict=True)]
    shifts[0] *= np.float32(luminance)
    return _in_lab(pixels, lambda channel, values: values + shifts[channel][_bins(values, RANGES[channel])])


def mean(pixels: Array, source: Array, luminance: float = 1.0) -> Array:
    """Pixels uint8 [height, width, 3] with the mean and deviation, a channel of LAB, of `source` uint8 [.., .., 3].

    Reinhard et al. 2001, "Color Transfer between Images", equations 10 and 11, in L*a*b*. `luminance` is how much of
    the change of L* is made.
    """
    _check(pixels, source)
    ours, theirs = _moments(pixels), _moments(source)
    gains = [new[1] / old[1] if old[1] > 0 else 1.0 for old, new in zip(ours, theirs, strict=True)]
    shares = (luminance, 1.0, 1.0)

    def moved(channel: int, values: Array) -> Array:
        centred = values - np.float32(ours[channel][0])
        target = centred * np.float32(gains[channel]) + np.float32(theirs[channel][0])
        changed: Array = values + np.float32(shares[channel]) * (target - values)
        return changed

    return _in_lab(pixels, moved)


def wavelet(pixels: Array, source: Array) -> Array:
    """Pixels uint8 [height, width, 3] whose low frequencies are those of `source`, of the same shape.

    The "wavelet colour fix" of StableSR (Wang et al. 2023): five levels of an à-trous transform with the kernel
    [1 2 1] / 4 along both axes; below them, at about 32 pixels, colours are the source's.
    """
    _check(pixels, source)
    if pixels.shape != source.shape:
        raise InputError(
            f"pixels of shape {list(pixels.shape)} are matched by wavelet with a source of the same, not of "
            f"{list(source.shape)}; scale it first"
        )
    matched = np.empty_like(pixels)
    height = len(pixels)
    for rows in strips(*pixels.shape[:2]):
        # Rows that the low frequencies of this strip depend on; where the picture ends it is continued a level.
        around = slice(max(rows.start - _HALO, 0), min(rows.stop + _HALO, height))
        low = _low(source[around].astype(np.float32) - pixels[around])
        levels = pixels[rows] + low[rows.start - around.start :][: rows.stop - rows.start]
        matched[rows] = np.rint(np.clip(levels, 0, 255))
    return matched


def settle(pixels: Array, source: Array) -> Array:
    """Pixels uint8 [height, width, 3] with the mean colour of `source`, of the same shape.

    Each pixel bears the shift in proportion to how far it is from the source's, at most `_MOST` times its even share:
    what has not moved, such as a white ground, is not tinted by what has.
    """
    _check(pixels, source)
    shift, distance = np.zeros(3), 0.0
    for rows in strips(*pixels.shape[:2]):
        moved, far = _moved(pixels[rows], source[rows])
        shift += moved.sum(axis=(0, 1), dtype=np.float64)
        distance += float(far.sum(dtype=np.float64))
    settled, count = pixels.copy(), pixels.shape[0] * pixels.shape[1]
    if distance:
        for rows in strips(*pixels.shape[:2]):
            share = np.minimum(_moved(pixels[rows], source[rows])[1] / np.float32(distance), _MOST / count)
            settled[rows] = np.rint(np.clip(pixels[rows] - share * shift, 0, 255))
    return settled


def _moved(pixels: Array, source: Array) -> tuple[Array, Array]:
    """How far pixels are from a source's, float32 [rows, width, 3], and all channels together [rows, width, 1]."""
    moved = pixels.astype(np.float32) - source
    return moved, np.sqrt(np.square(moved).sum(axis=2, keepdims=True))


METHODS: dict[str, Callable[[Array, Array], Array]] = {"histogram": histogram, "mean": mean, "wavelet": wavelet}


def transfer(counts: Array, target: Array) -> Array:
    """Where histogram matching moves each bin, as fractional bins; counts are integers [bins], both not all 0.

    A filled bin goes to where the target's cumulative share is the same, empty ones stay. Equal histograms move
    nothing.
    """
    filled, wanted = np.flatnonzero(counts), np.flatnonzero(target)
    shares = np.cumsum(counts[filled]) / counts.sum()
    moved = np.arange(len(counts), dtype=np.float64)
    moved[filled] = np.interp(shares, np.cumsum(target[wanted]) / target.sum(), wanted)
    return moved


def _shift(counts: Array, target: Array, limits: tuple[float, float]) -> Array:
    """What is added to the values of each bin, so that within a bin nothing is rounded."""
    shift = (transfer(counts, target) - np.arange(_BINS)) * (limits[1] - limits[0]) / _BINS
    return shift.astype(np.float32)


def _bins(values: Array, limits: tuple[float, float]) -> Array:
    scaled = (values - np.float32(limits[0])) * np.float32(_BINS / (limits[1] - limits[0]))
    return np.clip(scaled.astype(np.int32), 0, _BINS - 1)


def _counts(pixels: Array) -> list[Array]:
    totals = np.zeros((3, _BINS), np.int64)
    for lab in _lab_strips(pixels):
        for channel, limits in enumerate(RANGES):
            totals[channel] += np.bincount(_bins(lab[..., channel], limits).ravel(), minlength=_BINS)
    return list(totals)


def _moments(pixels: Array) -> list[tuple[float, float]]:
    count, sums, squares = 0, np.zeros(3), np.zeros(3)
    for lab in _lab_strips(pixels):
        count += lab.shape[0] * lab.shape[1]
        sums += lab.sum(axis=(0, 1), dtype=np.float64)
        squares += np.square(lab).sum(axis=(0, 1), dtype=np.float64)
    means = sums / count
    deviations = np.sqrt(np.maximum(squares / count - means**2, 0))
    # Greys have a* and b* of nearly 0: what is left by rounding is no colour to be scaled.
    return [(float(m), float(d) if d > 1e-3 else 0.0) for m, d in zip(means, deviations, strict=True)]


def _lab_strips(pixels: Array) -> Iterator[Array]:
    return (to_lab(pixels[rows]) for rows in strips(*pixels.shape[:2]))


def _in_lab(pixels: Array, change: Callable[[int, Array], Array]) -> Array:
    changed = np.empty_like(pixels)
    for rows in strips(*pixels.shape[:2]):
        lab = to_lab(pixels[rows])
        for channel in range(3):
            lab[..., channel] = change(channel, lab[..., channel])
        changed[rows] = from_lab(lab)
    return changed


def _low(values: Array) -> Array:
    for level in range(_LEVELS):
        for axis in (0, 1):
            values = _smooth(values, 2**level, axis)
    return values


def _smooth(values: Array, step: int, axis: int) -> Array:
    length = values.shape[axis]
    margins = [(step, step) if axis == index else (0, 0) for index in range(3)]
    padded = np.moveaxis(np.pad(values, margins, "edge"), axis, 0)
    ends = padded[:length] + padded[2 * step :]
    smooth: Array = ends / 4 + padded[step : step + length] / 2
    return np.moveaxis(smooth, 0, axis)


def _check(*pictures: Array) -> None:
    for pixels in pictures:
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise InputError(f"colours are matched on pixels uint8 [height, width, 3], not {list(pixels.shape)}")
