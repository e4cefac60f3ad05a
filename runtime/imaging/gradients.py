"""The gradients by which tiles of an upscale fade into what they replace."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ...bundles.tensor import Array
from .mask_shape import blur as blur_mask
from .tiles import Window


# Passes away from the edges share their weights, and those of a large picture are many.
@lru_cache(maxsize=64)
def weights(shape: str, inner: Window, height: int, width: int, blur: float) -> Array:
    """A mask, uint8 [height, width], read-only, whose window `inner`, which may reach beyond it, is a gradient of
    `shape`, blurred by a Gaussian of sigma `blur` px."""
    gradient = GRADIENTS[shape](inner.height, inner.width)
    top, left = max(inner.top, 0), max(inner.left, 0)
    part = gradient[top - inner.top : height - inner.top, left - inner.left : width - inner.left]
    levels = np.zeros((height, width), np.uint8)
    levels[top : top + part.shape[0], left : left + part.shape[1]] = part
    blurred = blur_mask(levels, blur)
    blurred.setflags(write=False)
    return blurred


def _flat(height: int, width: int) -> Array:
    return np.full((height, width), 255, np.uint8)


def _rows(height: int, width: int) -> Array:
    return np.repeat(_rise(height)[:, None], width, axis=1)


def _columns(height: int, width: int) -> Array:
    return np.repeat(_rise(width)[None], height, axis=0)


def _radial(height: int, width: int) -> Array:
    return _levels(1 - _distance(height, width))


def _to_corners(height: int, width: int) -> Array:
    return _levels(1 - _distance(height, width) / np.sqrt(2))


def _distance(height: int, width: int) -> Array:
    """From the middle, 1 at the middles of the sides."""
    y, x = ((np.arange(length) + 0.5) * (2 / length) - 1 for length in (height, width))
    distance: Array = np.hypot(y[:, None], x[None])
    return distance


def _rise(length: int) -> Array:
    """From nearly 0 at both ends to nearly 255 in the middle."""
    return _levels(1 - np.abs((np.arange(length) + 0.5) * (2 / length) - 1))


def _levels(share: Array) -> Array:
    levels: Array = np.rint(255 * np.maximum(share, 0))
    return levels.astype(np.uint8)


GRADIENTS: dict[str, Callable[[int, int], Array]] = {
    "flat": _flat,
    "rows": _rows,
    "columns": _columns,
    "radial": _radial,
    "to_corners": _to_corners,
}
