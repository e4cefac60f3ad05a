"""Arithmetic that several nodes of pictures, masks and latents share."""

from __future__ import annotations

import numpy as np

from ..bundles.tensor import Array
from .scaling import resized


def composed(
    destination: Array, source: Array, x: int, y: int, mask: Array | None = None, resize: bool = False, unit: int = 1
) -> Array:
    """Planes [n, channels, height, width] with others pasted at (x, y), in pixels of `unit` a plane's element.

    `mask` float32 [n, height, width] is scaled to the source; beyond the destination's edges nothing is pasted.
    """
    height, width = destination.shape[-2:]
    if resize:
        source = resized(source, width, height, "bilinear")
    source = source[np.arange(len(destination)) % len(source)]
    top, left = min(y // unit, height), min(x // unit, width)
    share = np.ones((1, 1, *source.shape[-2:]), np.float32)
    if mask is not None:
        share = resized(mask.reshape(-1, 1, *mask.shape[-2:]), source.shape[-1], source.shape[-2], "bilinear")
        share = share[np.arange(len(destination)) % len(share)]
    high, wide = min(source.shape[-2], height - top), min(source.shape[-1], width - left)
    made = destination.copy()
    channels = min(source.shape[1], destination.shape[1])
    place = (slice(None), slice(channels), slice(top, top + high), slice(left, left + wide))
    part = share[..., :high, :wide]
    made[place] = source[:, :channels, :high, :wide] * part + made[place] * (1 - part)
    return made


def gaussian(side: int, sigma: float) -> Array:
    """A kernel float64 [side, side] over -1 ... 1 in both directions, that sums to 1."""
    x = np.linspace(-1, 1, side)
    distance = np.sqrt(x[:, None] ** 2 + x[None] ** 2)
    kernel = np.exp(-(distance**2) / (2 * sigma**2))
    return np.asarray(kernel / kernel.sum())


def convolved(pictures: Array, kernel: Array) -> Array:
    """Pictures [n, height, width, channels] under a kernel, their edges reflected."""
    radius = len(kernel) // 2
    sides = (0, 0), (radius, radius), (radius, radius), (0, 0)
    # A picture no larger than the kernel has not enough to reflect.
    small = min(pictures.shape[1:3]) <= radius
    padded = np.pad(pictures, sides, "symmetric") if small else np.pad(pictures, sides, "reflect")
    height, width = pictures.shape[1:3]
    made = np.zeros(pictures.shape, np.float64)
    for row, weights in enumerate(kernel):
        for column, weight in enumerate(weights):
            made += weight * padded[:, row : row + height, column : column + width]
    return made.astype(np.float32)
