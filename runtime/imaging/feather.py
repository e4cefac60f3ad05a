"""A mask's blur that loses nothing of what was painted, however small that is."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from ...bundles.tensor import Array
from .mask_shape import blur, grow

GROWTH = 1.5
"""How many sigmas a part that is smaller than its blur grows by: a dot then keeps two thirds of its level."""


def feather(levels: Array, x: float, y: float, kind: str = "a1111") -> Array:
    """The mask uint8 [height, width] blurred as `mask.blur` does; parts too small for that are grown before.

    A part is too small where the blur leaves it less than half of its level and no more is left within a sigma, as it
    is at the edges and corners of what is larger.
    """
    blurred, sigma = blur(levels, x, y, kind), max(x, y)
    left = (2 * blurred.astype(np.uint16) >= levels) & (levels > 0)
    near = grow(left.view(np.uint8), math.ceil(sigma))
    lost = np.where(near > 0, np.uint8(0), levels)
    if not lost.any():
        return blurred
    feathered: Array = np.maximum(blurred, blur(grow(lost, math.ceil(GROWTH * sigma)), x, y, kind))
    return feathered


def covering(levels: Array, size: tuple[int, int]) -> Array:
    """The mask uint8 [height, width] at another size (width, height), such that no painted pixel is missed.

    A pixel is 255 where any that it stands for is at 128 or more, 127 where any is above 0, else 0.
    """
    if levels.shape[1::-1] == size:
        return levels
    half, some = (_any(levels >= least, size) for least in (128, 1))
    covered: Array = np.where(half, 255, np.where(some, 127, 0)).astype(np.uint8)
    return covered


def _any(painted: Array, size: tuple[int, int]) -> Array:
    """Where a box filter sees any of the bools [height, width]; in floats, which round nothing away."""
    means = Image.fromarray(painted.astype(np.float32)).resize(size, Image.Resampling.BOX)
    seen: Array = np.asarray(means) > 0
    return seen
