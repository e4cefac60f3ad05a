"""CIE L*a*b* of sRGB pixels under D65, in float32."""

from __future__ import annotations

import numpy as np

from ...bundles.tensor import Array

RANGES = ((0.0, 100.0), (-128.0, 128.0), (-128.0, 128.0))
"""What L*, a* and b* of sRGB colours lie in."""

# IEC 61966-2-1. The white point is what the matrix makes of white, so that greys have an a* and b* of 0.
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_TO_XYZ /= _TO_XYZ.sum(axis=1, keepdims=True)
_TO_RGB = np.linalg.inv(_TO_XYZ)
_FROM_XYZ = np.array([[0, 116, 0], [500, -500, 0], [0, 200, -200]], np.float32)
_KNEE = 6 / 29


def _linear(encoded: Array) -> Array:
    linear: Array = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return linear


_LINEAR = _linear(np.arange(256) / 255).astype(np.float32)


def to_lab(pixels: Array) -> Array:
    """Pixels uint8 [..., 3] as L* in [0, 100], a* and b*, float32 [..., 3]."""
    ratios = _LINEAR[pixels] @ _TO_XYZ.T.astype(np.float32)
    roots = np.where(ratios > _KNEE**3, np.cbrt(ratios), ratios / np.float32(3 * _KNEE**2) + np.float32(4 / 29))
    lab: Array = roots @ _FROM_XYZ.T
    lab[..., 0] -= 16
    return lab


def from_lab(lab: Array) -> Array:
    """L*, a* and b*, float32 [..., 3], as pixels uint8 [..., 3]; colours that sRGB lacks are clipped a channel."""
    middle = (lab[..., 0] + 16) / 116
    roots = np.stack([middle + lab[..., 1] / 500, middle, middle - lab[..., 2] / 200], axis=-1)
    ratios = np.where(roots > _KNEE, roots**3, np.float32(3 * _KNEE**2) * (roots - np.float32(4 / 29)))
    light = np.clip(ratios @ _TO_RGB.T.astype(np.float32), 0, 1)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** np.float32(1 / 2.4) - np.float32(0.055))
    levels: Array = np.rint(encoded * 255)
    return levels.astype(np.uint8)
