"""Letting new pixels start from the old beside them, where the old must not change."""

from __future__ import annotations

import numpy as np

from ...bundles.tensor import Array
from .mask_shape import kernel


def fade(original: Array, repainted: Array, levels: Array, reach: int) -> Array:
    """`repainted` with the difference that it has from `original` around the mask, continued into it and fading there.

    Pixels are uint8 [height, width, 3], the mask uint8 [height, width]; what is known is where that is 0. The
    difference is continued by normalized convolution (Knutsson and Westin 1993) with a Gaussian that ends after `reach`
    pixels, and counts wholly at the border and not at all where the Gaussian sees nothing known. So what a feathered
    mask does within the original is done beside it. Pixels of mask 0 stay as they are.
    """
    known = (levels == 0).astype(np.float32)[..., None]
    if not reach or not known.any() or known.all():
        return repainted
    difference = (original.astype(np.float32) - repainted) * known
    taps = kernel(reach / 2.5)
    sums = _smooth(np.concatenate([difference, known], axis=2), taps)
    weight = sums[..., 3:]
    # What a pixel beside a straight border sees of it.
    most = (1 - taps[len(taps) // 2]) / 2
    shift = sums[..., :3] / np.maximum(weight, np.float32(1e-6)) * np.minimum(weight / most, 1)
    faded: Array = np.rint(np.clip(repainted + shift * (1 - known), 0, 255)).astype(np.uint8)
    return faded


def _smooth(values: Array, taps: Array) -> Array:
    """float32 [height, width, channels] convolved with taps along both axes; nothing is beyond the edges."""
    reach = len(taps) // 2
    for axis in (0, 1):
        padded = np.moveaxis(np.pad(values, [(reach, reach) if n == axis else (0, 0) for n in range(3)]), axis, 0)
        length = values.shape[axis]
        total = sum(tap * padded[shift : shift + length] for shift, tap in enumerate(taps))
        values = np.moveaxis(np.asarray(total), 0, axis)
    return values
