"""A1111's soft inpainting: latents blended with their magnitudes, and a paste that goes by how far latents moved.

The rules are those of its extension (extensions-builtin/soft-inpainting/scripts/soft_inpainting.py, 1.10).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from ...bundles.tensor import Array
from ...engines.arrays import namespace_of
from ...errors import InputError
from .tiles import strips

RADIUS = 2
"""How far the filter of distances sees, in latents."""
BLUR = 4
"""The sigma of the paste's last blur, in pixels."""


@dataclass(frozen=True)
class Soft:
    """The extension's sliders, with their defaults, but for the preservation strength.

    `bias` is the power of sigma in the mask's schedule, `boost` the norm by which magnitudes are blended. Of the paste:
    `influence` in [0, 1] is how far the mask sets the `threshold`, the distance that shows half of the new pixels, and
    `contrast` how sudden the change is.
    """

    bias: float = 1.0
    boost: float = 4.0
    influence: float = 0.0
    threshold: float = 0.5
    contrast: float = 2.0

    def __post_init__(self) -> None:
        """Raise `InputError` for what is beyond the sliders."""
        for name, least, most in (
            ("bias", 0, 8),
            ("boost", 1, 32),
            ("influence", 0, 1),
            ("threshold", 0, 8),
            ("contrast", 0, 8),
        ):
            if not least <= getattr(self, name) <= most:
                raise InputError(f"soft inpainting's {name} is {least} to {most}, not {getattr(self, name)!r}")


def blended(original: Array, new: Array, share: Array, boost: float) -> Array:
    """Latents, float32 [channels, height, width], `share` [height, width] of them new.

    The vectors over the channels are interpolated linearly, their lengths by the power mean of exponent `boost`, which
    leans to the longer one: a linear blend of two unlike vectors is short, which shows as a loss of contrast.
    """
    mixed = original * (1 - share) + new * share
    powers = _lengths(original) ** boost * (1 - share) + _lengths(new) ** boost * share
    scale = powers ** (1 / boost) / (_lengths(mixed) + 1e-5)
    result: Array = mixed * scale.astype(np.float32)
    return result


def adaptive(distance: Array, share: Array, preservation: float, soft: Soft) -> Array:
    """How much of the new pixels counts where latents moved by `distance`, uint8 of its shape [height, width].

    `share` float32 [height, width] is the mask. Distances are dilated, then smoothed without their extremes.
    """
    dilated = window_mean(distance.astype(np.float32), 0.9, 1.0)
    smooth = window_mean(dilated, 0.25, 0.75)
    kept = 1 - np.clip(share, 0, 1) ** (preservation / 2)
    kept = 0.5 * (1 - soft.influence) + kept * soft.influence
    half = soft.threshold * kept / (1.00001 - kept)
    with np.errstate(divide="ignore", invalid="ignore"):
        old = 1 / (1 + (smooth / half) ** soft.contrast)
    # What has not moved at a threshold of 0 has no share that is defined: it stays.
    old = np.nan_to_num(old, nan=1.0)
    old = old**3 * (old * (6 * old - 15) + 10)
    levels: Array = (255 * (1 - old)).astype(np.uint8)
    return levels


def paste_levels(levels: Array, size: tuple[int, int]) -> Array:
    """Such levels at a picture's size (width, height), uint8 [height, width]: by Lanczos, then blurred."""
    scaled = Image.fromarray(levels).resize(size, Image.Resampling.LANCZOS)
    return np.array(scaled.filter(ImageFilter.GaussianBlur(BLUR)))


def window_mean(values: Array, low: float, high: float) -> Array:
    """Each value's neighbours, sorted, of which the mean of those between two shares of their weight is taken.

    `values` is float32 [height, width]; the neighbours are those of `kernel`, without what lies beyond the edges. At
    least a weight of 1 is taken.
    """
    height, width = values.shape
    padded = np.pad(values, RADIUS)
    inside = np.pad(np.ones(values.shape), RADIUS)
    result = np.empty_like(values)
    for rows in strips(height, width * 64):
        places = [
            (slice(rows.start + dy, rows.stop + dy), slice(dx, dx + width), weight)
            for (dy, dx), weight in np.ndenumerate(kernel())
        ]
        stack = np.stack([padded[down, across] for down, across, _ in places])
        weights = np.stack([inside[down, across] * weight for down, across, weight in places])
        result[rows] = _between(stack, weights, low, high)
    return result


def kernel() -> Array:
    """The weights of the neighbours, float64 [2 RADIUS + 1, 2 RADIUS + 1]: exp(-(r / 1.5)^2), shifted to end at 0."""
    squares = np.arange(-RADIUS, RADIUS + 1) ** 2
    end = np.exp(-((RADIUS + 1) ** 2) / 1.5**2)
    weights: Array = np.maximum((np.exp(-(squares[:, None] + squares) / 1.5**2) - end) / (1 - end), 0)
    return weights


def _between(stack: Array, weights: Array, low: float, high: float) -> Array:
    """The means of values [n, height, width] between two shares of their sorted weights."""
    order = np.argsort(stack, axis=0)
    stack, weights = np.take_along_axis(stack, order, axis=0), np.take_along_axis(weights, order, axis=0)
    after = np.cumsum(weights, axis=0)
    total = after[-1]
    start, stop = total * low, total * high
    narrow, middle = stop - start < 1, (start + stop) / 2
    start, stop = np.where(narrow, middle - 0.5, start), np.where(narrow, middle + 0.5, stop)
    over = narrow & (stop > total)
    start, stop = np.where(over, total - 1, start), np.where(over, total, stop)
    under = narrow & (start < 0)
    start, stop = np.where(under, 0.0, start), np.where(under, 1.0, stop)
    parts = np.maximum(np.minimum(after, stop) - np.maximum(after - weights, start), 0)
    means: Array = (stack * parts).sum(axis=0) / parts.sum(axis=0)
    return means


def _lengths(latents: Array) -> Array:
    """The lengths of the vectors over the channels, float64 [height, width]: large powers go beyond float32."""
    xp = namespace_of(latents)
    lengths: Array = xp.sqrt((latents * latents).sum(axis=0)).astype(np.float64)
    return lengths
