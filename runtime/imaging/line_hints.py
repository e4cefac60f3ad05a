"""Line drawings that ControlNets follow, white on black, computed from a picture without a network."""

from __future__ import annotations

import numpy as np

from ...bundles.tensor import Array

# How far around a pixel its surroundings reach, in pixels; and the difference in levels of 8 bits below which paper is
# no line.
SURROUNDINGS, PAPER = 6.0, 8.0


def lineart(pixels: Array) -> Array:
    """The dark lines of a drawing on light ground, uint8 [height, width, 3] -> uint8 [height, width], white on black.

    A pixel is as white as it is darker than its surroundings, in the channel that stands out least; the usual line has
    half the levels, however faint the drawing.
    """
    darker = (gaussian(pixels, SURROUNDINGS) - pixels).min(2).clip(0, 255)
    lines = darker[darker > PAPER]
    usual = max(2 * PAPER, float(np.median(lines)) if lines.size else 0.0)
    drawn: Array = np.rint(darker / usual * 127).clip(0, 255).astype(np.uint8)
    return drawn


def xdog(pixels: Array, threshold: float = 32) -> Array:
    """A scribble, uint8 [height, width, 3] -> uint8 [height, width], 255 on strokes and 0 elsewhere.

    Where the difference of a narrow and a wide Gaussian is at least half the `threshold`, in levels of 8 bits
    (Winnemöller, Kyprianidis, Olsen, "XDoG: An eXtended difference-of-Gaussians compendium", 2012, equation 1, cut
    off hard).
    """
    darker = (gaussian(pixels, 5.0) - gaussian(pixels, 0.5)).min(2)
    strokes: Array = (2 * darker > threshold).astype(np.uint8) * np.uint8(255)
    return strokes


def threshold(pixels: Array, level: float = 127) -> Array:
    """White where a picture, uint8 [height, width, 3], is on average lighter than `level`, uint8 [height, width]."""
    light: Array = (pixels.mean(2) > level).astype(np.uint8) * np.uint8(255)
    return light


def gaussian(pixels: Array, sigma: float) -> Array:
    """Pixels [height, width, channels] blurred by a Gaussian of `sigma` pixels, float32; edges are mirrored."""
    radius = max(round(3 * sigma), 1)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    made = pixels.astype(np.float32)
    for axis in (0, 1):
        length = made.shape[axis]
        margins = [(radius, radius) if at == axis else (0, 0) for at in range(3)]
        wide = np.moveaxis(np.pad(made, margins, "symmetric"), axis, 0)
        summed = sum(weight * wide[at : at + length] for at, weight in enumerate(kernel))
        made = np.moveaxis(np.asarray(summed, np.float32), 0, axis)
    return made
