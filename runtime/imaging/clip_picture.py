"""Pictures as CLIP's image encoders take them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ...bundles.tensor import Array


def clip_pixels(pixels: Array, side: int, mean: Sequence[float], std: Sequence[float]) -> Array:
    """Pixels uint8 [height, width, 3] as float32 [3, side, side]: scaled by bicubic interpolation until the shorter
    side is `side`, the middle cut out, normalised.

    As transformers' CLIPImageProcessor has it. `mean` and `std` are of red, green and blue in [0, 1].
    """
    height, width = pixels.shape[:2]
    short = min(height, width)
    size = int(side * width / short), int(side * height / short)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    scaled = np.asarray(image.resize(size, Image.Resampling.BICUBIC) if size != image.size else image)
    top, left = (scaled.shape[0] - side) // 2, (scaled.shape[1] - side) // 2
    middle = scaled[top : top + side, left : left + side].astype(np.float32) / np.float32(255)
    normal = (middle - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1))
