"""The shape of a mask: blurred, grown, and the rectangle around it."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from ...bundles.tensor import Array
from ...errors import InputError, unknown
from .tiles import Window, strips

BLURS = ("a1111", "diffusers")


def blur(levels: Array, x: float, y: float | None = None, kind: str = "a1111") -> Array:
    """The mask uint8 [height, width] blurred by a Gaussian of sigma `x` along rows and `y` (or `x`) along columns, px.

    "a1111" is its mask blur: OpenCV's GaussianBlur with kernels of 2 int(2.5 sigma + 0.5) + 1 taps, edges mirrored,
    rounded after each axis (OpenCV's 8-bit kernels are coarser: it is up to some levels off); "diffusers" is
    `VaeImageProcessor.blur`: Pillow's, of three box filters. Raises `InputError` for another kind or a negative sigma.
    """
    y = x if y is None else y
    if not (x >= 0 and y >= 0):
        raise InputError(f"a mask's blur is a width of at least 0 pixels, not {x:g} by {y:g}")
    if kind not in BLURS:
        raise unknown("mask blur", kind, BLURS)
    if kind == "diffusers":
        return np.array(Image.fromarray(levels).filter(ImageFilter.GaussianBlur((x, y))))
    along_rows = _blur_rows(levels, x)
    return np.ascontiguousarray(_blur_rows(along_rows.T, y).T)


def blur_reach(sigma: float) -> int:
    """How many pixels a blur of A1111's kind spreads a mask."""
    return int(2.5 * sigma + 0.5)


def kernel(sigma: float) -> Array:
    """The taps of such a blur, float32 [2 blur_reach(sigma) + 1], which sum to 1."""
    reach = blur_reach(sigma)
    taps = np.exp(-(np.arange(-reach, reach + 1, dtype=np.float64) ** 2) / (2 * max(sigma, 1e-3) ** 2))
    weights: Array = (taps / taps.sum()).astype(np.float32)
    return weights


def grow(levels: Array, pixels: int) -> Array:
    """The mask uint8 [height, width] grown by a disc of radius `pixels`, or shrunk where that is negative.

    Beyond the picture nothing is masked when growing, and everything when shrinking: its edges stay as they are.
    """
    if pixels < 0:
        shrunk: Array = 255 - grow(255 - levels, -pixels)
        return shrunk
    grown, spread, half = levels.copy(), levels.copy(), 0
    height = len(levels)
    # The disc's rows from its poles, which are one pixel, to its equator: each is at least as wide as the last.
    for dy in range(pixels, -1, -1):
        while (half + 1) ** 2 + dy**2 <= pixels**2:
            spread, half = widened(spread), half + 1
        if dy < height:
            np.maximum(grown[dy:], spread[: height - dy], out=grown[dy:])
            np.maximum(grown[: height - dy], spread[dy:], out=grown[: height - dy])
    return grown


def region(levels: Array, padding: int = 0, size: tuple[int, int] | None = None) -> Window | None:
    """The rectangle around what a mask uint8 [height, width] repaints; None where that is nothing.

    It has `padding` pixels around it where the picture has them, and with the model's `size` (width, height) is
    expanded to that aspect as far as the picture goes: "only masked" of A1111 (get_crop_region_v2 and
    expand_crop_region) and `padding_mask_crop` of diffusers (`VaeImageProcessor.get_crop_region`), which agree.
    """
    masked: list[Array] = [np.any(levels, axis=axis) for axis in (1, 0)]
    rows, columns = (np.flatnonzero(line) for line in masked)
    if not rows.size:
        return None
    top, left = int(rows[0]), int(columns[0])
    return around(Window(top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left), levels.shape, padding, size)


def around(window: Window, area: tuple[int, ...], padding: int = 0, size: tuple[int, int] | None = None) -> Window:
    """The window with `padding` around it and of the aspect of `size`, as far as the `area` [height, width] goes."""
    top, bottom = max(window.top - padding, 0), min(window.top + window.height + padding, area[0])
    left, right = max(window.left - padding, 0), min(window.left + window.width + padding, area[1])
    if size is not None:
        aspect = size[0] / size[1]
        # Truncated as the peers do, so that a rectangle can be a pixel short of the aspect.
        if (right - left) / (bottom - top) > aspect:
            more = int((right - left) / aspect - (bottom - top))
            top, bottom = _expanded(top, bottom, more, area[0])
        else:
            more = int((bottom - top) * aspect - (right - left))
            left, right = _expanded(left, right, more, area[1])
    return Window(top, left, bottom - top, right - left)


def _blur_rows(levels: Array, sigma: float) -> Array:
    reach = blur_reach(sigma)
    if not reach:
        return levels.copy()
    height, width = levels.shape
    blurred = np.empty((height, width), np.uint8)
    for rows in strips(height, width + 2 * reach):
        padded = np.pad(levels[rows].astype(np.float32), ((0, 0), (reach, reach)), "reflect")
        total = sum(weight * padded[:, shift : shift + width] for shift, weight in enumerate(kernel(sigma)))
        blurred[rows] = np.rint(total)
    return blurred


def widened(levels: Array) -> Array:
    """The mask uint8 [height, width], or bools, grown by a pixel to the left and to the right."""
    wide = levels.copy()
    np.maximum(wide[:, 1:], levels[:, :-1], out=wide[:, 1:])
    np.maximum(wide[:, :-1], levels[:, 1:], out=wide[:, :-1])
    return wide


def _expanded(start: int, stop: int, more: int, length: int) -> tuple[int, int]:
    """`more` pixels around a span, moved to where the length has them; at most the length."""
    start, stop = start - more // 2, stop + more - more // 2
    start -= max(stop - length, 0)
    stop = min(stop, length)
    return max(start, 0), min(stop + max(-start, 0), length)
