"""A depth map as a depth-conditioned model is shown it: at the latents' size, from -1 to 1."""

from __future__ import annotations

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError


def depth_latents(depth: Array, height: int, width: int) -> Array:
    """A depth map of levels [height, width] in latents, float32 [1, height, width], stretched from -1 to 1.

    As diffusers' StableDiffusionDepth2ImgPipeline.prepare_depth_map: bicubic (Keys' kernel with a = -0.75) and not
    smoothed. Raises `InputError` for a map without any depth.
    """
    rows, columns = (_bicubic(old, new) for old, new in zip(depth.shape, (height, width), strict=True))
    values = rows @ depth.astype(np.float64) @ columns.T
    low, high = values.min(), values.max()
    if not high - low > 0:
        raise InputError("the depth map is the same everywhere; give one that has depth", "depth")
    return np.asarray(2 * (values - low) / (high - low) - 1, np.float32)[None]


def _bicubic(old: int, new: int) -> Array:
    """[new, old] The weights that each of the old values has in the new ones; those beyond the ends are the ends'."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(centres).astype(int) - 1
    weights = np.zeros((new, old))
    for tap in range(4):
        places = first + tap
        np.add.at(weights, (np.arange(new), np.clip(places, 0, old - 1)), _keys(np.abs(centres - places)))
    return weights


def _keys(distance: Array) -> Array:
    """Keys, "Cubic Convolution Interpolation for Digital Image Processing" (1981), equation 15."""
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
