"""Nodes that make hints of pictures."""

from __future__ import annotations

import numpy as np

from ...bundles.tensor import Array
from ...runtime.imaging.hints import connected
from ..context import Context
from ..node import node, outputs
from ..sockets import decimal, link

_NEAR = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
"""(down, right) of the neighbours in the directions of 0, 45, ... degrees."""


@node(
    "Canny",
    needed={
        "image": link("IMAGE"),
        "low_threshold": decimal(0.4, 0.01, 0.99),
        "high_threshold": decimal(0.8, 0.01, 0.99),
    },
    outputs=outputs("IMAGE"),
    category="image/preprocessors",
)
def canny(context: Context, image: Array, low_threshold: float, high_threshold: float) -> Array:
    """Edges, white on black, as kornia finds them."""
    edges = np.stack([_edges(picture, low_threshold, high_threshold) for picture in image])
    return np.repeat(edges[..., None], 3, axis=3)


def _edges(picture: Array, low: float, high: float) -> Array:
    """Canny (1986) of a picture float32 [height, width, channels] in [0, 1]: float32 [height, width], 1 on edges.

    Grey smoothed by a Gaussian of 5 x 5 and sigma 1; Sobel gradients whose size is not divided by 8; ridges along the
    nearest of 8 directions; what is above `low` and touches what is above `high`, directly or through others.
    """
    grey = picture[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    dx, dy = _gradients(_smoothed(grey))
    size = np.sqrt(dx**2 + dy**2 + 1e-6)
    sector = np.rint(np.rad2deg(np.arctan2(dy, dx)) / 45).astype(int) % 8
    around = np.pad(size, 1)
    height, width = size.shape
    neighbours = np.stack([around[1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in _NEAR])
    both = (np.take_along_axis(neighbours, each[None], 0)[0] for each in (sector, (sector + 4) % 8))
    size = size * (size > np.maximum(*both))
    return connected(size > low, size > high).astype(np.float32)


def _smoothed(grey: Array) -> Array:
    kernel = np.exp(-np.square(np.arange(-2, 3, dtype=np.float32)) / 2)
    kernel /= kernel.sum()
    wide = np.pad(grey, 2, "reflect" if min(grey.shape) > 2 else "edge")
    across = sum(weight * wide[:, place : place + grey.shape[1]] for place, weight in enumerate(kernel))
    return np.asarray(sum(weight * across[place : place + grey.shape[0]] for place, weight in enumerate(kernel)))


def _gradients(grey: Array) -> tuple[Array, Array]:
    """Sobel's dx and dy; edges are repeated."""
    wide = np.pad(grey, 1, "edge")
    down = wide[:-2] + 2 * wide[1:-1] + wide[2:]
    across = wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]
    return down[:, 2:] - down[:, :-2], across[2:] - across[:-2]
