"""Pictures that a ControlNet follows, computed from a picture: its edges."""

from __future__ import annotations

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError

# tan 22.5 degrees, as OpenCV's Canny rounds it: between it and its inverse, 2 more, a gradient is a diagonal one.
TANGENT, ONE = 13573, 1 << 15


def canny(pixels: Array, low: int = 100, high: int = 200) -> Array:
    """The edges of a picture, uint8 [height, width, 3] -> uint8 [height, width], 255 on edges and 0 elsewhere.

    Canny (1986) as `cv2.Canny` computes it by default: 3 x 3 Sobel gradients of the colour channel that changes most,
    their size |dx| + |dy|, only its ridges, and of these what is above `low` and touches what is above `high`, directly
    or through others. Raises `InputError` for another kind of array and for thresholds that are not 0 <= low <= high.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InputError(f"edges are of uint8 [height, width, 3], not of {pixels.dtype} {list(pixels.shape)}")
    if not 0 <= low <= high:
        raise InputError(f"canny's thresholds are 0 <= low <= high, not {low} and {high}")
    dx, dy = _gradients(pixels)
    size = abs(dx) + abs(dy)
    ridge = (size > low) & _ridges(dx, dy, size)
    return connected(ridge, ridge & (size > high)).astype(np.uint8) * np.uint8(255)


def _gradients(pixels: Array) -> tuple[Array, Array]:
    """Sobel's dx and dy, int64 [height, width], of each pixel's channel with the greatest |dx| + |dy|."""
    wide = np.pad(pixels.astype(np.int64), ((1, 1), (1, 1), (0, 0)), "edge")
    down = wide[:-2] + 2 * wide[1:-1] + wide[2:]
    across = wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]
    dx, dy = down[:, 2:] - down[:, :-2], across[2:] - across[:-2]
    channel = (abs(dx) + abs(dy)).argmax(2)[..., None]
    return np.take_along_axis(dx, channel, 2)[..., 0], np.take_along_axis(dy, channel, 2)[..., 0]


def _ridges(dx: Array, dy: Array, size: Array) -> Array:
    """Where the gradient's size is greatest along its direction, bool [height, width]; of two equal ones the latter."""
    around = np.pad(size, 1)
    height, width = size.shape

    def neighbour(down: int, right: int) -> Array:
        return around[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    x, y = abs(dx) * TANGENT, abs(dy) * ONE
    steep = y > x + abs(dx) * 2 * ONE
    falling = (dx < 0) != (dy < 0)
    diagonal = np.where(
        falling,
        (size > neighbour(-1, 1)) & (size > neighbour(1, -1)),
        (size > neighbour(-1, -1)) & (size > neighbour(1, 1)),
    )
    level = (size > neighbour(0, -1)) & (size >= neighbour(0, 1))
    upright = (size > neighbour(-1, 0)) & (size >= neighbour(1, 0))
    return np.where(y < x, level, np.where(steep, upright, diagonal))


def connected(mask: Array, seeds: Array) -> Array:
    """The parts of `mask` that hang together with `seeds` over edges or corners, bool [height, width]."""
    wide = mask.shape[1] + 2
    open_ = np.pad(mask & ~seeds, 1).ravel()
    front = np.flatnonzero(np.pad(seeds, 1).ravel())
    steps = np.array([-wide - 1, -wide, -wide + 1, -1, 1, wide - 1, wide, wide + 1])
    found = np.pad(seeds, 1).ravel()
    while front.size:
        reached = (front[:, None] + steps).ravel()
        front = np.unique(reached[open_[reached]])
        open_[front] = False
        found[front] = True
    return found.reshape(-1, wide)[1:-1, 1:-1]
