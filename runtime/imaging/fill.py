"""What stands where nothing is known yet: masked content of inpainting, and the margins of outpainting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from ...bundles.tensor import Array
from ...errors import InputError, unknown
from .mask_shape import region
from .match import transfer
from .tiles import Window, strips

# Radius and how often: A1111's.
_BLURS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))
# Pillow's blur is of three boxes, each of about this radius: no pixel further away than these counts.
_REACH = 3 * (256 + 2)
_BINS = 4096


@dataclass(frozen=True)
class Margins:
    """By how many pixels a picture is to grow on each side, each at least 0."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def __post_init__(self) -> None:
        """Raise `InputError` for a side that would shrink."""
        if min(self.left, self.top, self.right, self.bottom) < 0:
            raise InputError(f"a picture grows by 0 pixels or more, not by {self}; crop it to make it smaller")

    def window(self, size: tuple[int, int]) -> Window:
        """Where a picture of (width, height) lies in the grown one."""
        return Window(self.top, self.left, size[1], size[0])

    def mask(self, size: tuple[int, int]) -> Array:
        """The mask of the grown picture of (width, height), uint8: 255 in the margins, 0 where the picture is."""
        levels = np.full((size[1] + self.top + self.bottom, size[0] + self.left + self.right), 255, np.uint8)
        levels[self.window(size).slices] = 0
        return levels

    @property
    def sides(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """((top, bottom), (left, right), (0, 0)): what `np.pad` takes for pixels."""
        return (self.top, self.bottom), (self.left, self.right), (0, 0)


def spread(pixels: Array, levels: Array) -> Array:
    """Pixels uint8 [height, width, 3] with the colours around the mask spread into it: A1111's masked content "fill".

    Ever less blurred copies of what is known, uint8 mask [height, width] below 255, lie on top of each other. Where
    none of them reaches, there is the mean of what is known. Pixels of mask 0 stay as they are.

    Raises `InputError` for a mask that leaves nothing to spread.
    """
    if levels.min() == 255:
        raise InputError("the mask covers the whole picture, which leaves no colours to fill it with; choose 'noise'")
    result = pixels.copy()
    around = region(levels, _REACH)
    if around is not None:
        filled = _spread(pixels[around.slices], around.cut(levels))
        unreached = filled[..., 3] == 0
        result[around.slices] = filled[..., :3]
        if unreached.any():
            result[around.slices][unreached] = _mean(pixels, 255 - levels)
    return result


def _mean(pixels: Array, weights: Array) -> Array:
    sums = np.zeros(3)
    for rows in strips(*weights.shape):
        sums += np.tensordot(weights[rows].astype(np.float32), pixels[rows].astype(np.float32), 2)
    mean: Array = np.rint(sums / weights.sum(dtype=np.float64))
    return mean


def _spread(pixels: Array, levels: Array) -> Array:
    layer = Image.fromarray(pixels).convert("RGBA")
    layer.putalpha(Image.fromarray(255 - levels))
    layer = layer.convert("RGBa")
    canvas = Image.new("RGBA", layer.size)
    for radius, times in _BLURS:
        blurred = layer.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            canvas.alpha_composite(blurred)
    return np.asarray(canvas)


def pad(
    pixels: Array,
    margins: Margins,
    mode: str = "edge",
    *,
    colour: tuple[int, int, int] = (127, 127, 127),
    seed: int = 0,
) -> Array:
    """Pixels uint8 [height, width, 3] with margins; the picture itself is in them as it was, bit for bit.

    "edge" repeats the outermost pixels; "reflect" mirrors the picture, as often as it takes; "noise" is Gaussian noise
    with the picture's spectrum, colours and histogram, from `seed`; "colour" is `colour`, of levels 0 to 255.

    Raises `InputError` for an unknown mode and for a colour that is none.
    """
    if mode not in PADDINGS:
        raise unknown("padding", mode, PADDINGS)
    return PADDINGS[mode](pixels, margins, colour, seed)


def check_colour(colour: Any) -> None:
    """Raise `InputError` for what is no (red, green, blue) of levels 0 to 255."""
    if not isinstance(colour, tuple) or len(colour) != 3 or not all(map(_is_level, colour)):
        raise InputError(f"a colour is three levels of 0 to 255, not {colour!r}")


def _is_level(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and 0 <= int(value) <= 255


def _edge(pixels: Array, margins: Margins, colour: tuple[int, int, int], seed: int) -> Array:
    return np.pad(pixels, margins.sides, "edge")


def _reflect(pixels: Array, margins: Margins, colour: tuple[int, int, int], seed: int) -> Array:
    return np.pad(pixels, margins.sides, "symmetric")


def _colour(pixels: Array, margins: Margins, colour: tuple[int, int, int], seed: int) -> Array:
    check_colour(colour)
    return _framed(pixels, margins, lambda height, width: np.full((height, width, 3), colour, np.uint8))


def _noise(pixels: Array, margins: Margins, colour: tuple[int, int, int], seed: int) -> Array:
    return _framed(pixels, margins, lambda height, width: matched_noise(pixels, height, width, seed))


PADDINGS: dict[str, Callable[[Array, Margins, tuple[int, int, int], int], Array]] = {
    "edge": _edge,
    "reflect": _reflect,
    "noise": _noise,
    "colour": _colour,
}


def matched_noise(pixels: Array, height: int, width: int, seed: int, variation: float = 0.05) -> Array:
    """Noise of the picture's structure, uint8 [height, width, 3], at least of the picture's size.

    It is asymptotic discrete spot noise (Galerne, Gousseau and Morel 2011, "Random Phase Textures"): white noise
    convolved with the picture less its mean, so that the spectrum is the picture's, and the correlation of its channels
    too, since they share the noise but for `variation`. Each channel then gets the picture's histogram.
    """
    random = np.random.default_rng(seed)
    shared = random.standard_normal((height, width), np.float32)
    noise = np.empty((height, width, 3), np.uint8)
    rest = np.float32(np.sqrt(1 - variation**2))
    window = np.outer(*(np.hanning(length + 2)[1:-1].astype(np.float32) for length in pixels.shape[:2]))
    for channel in range(3):
        own = random.standard_normal((height, width), np.float32)
        plane = pixels[..., channel]
        spot = (plane - plane.mean(dtype=np.float32)) * window
        spectrum = np.fft.rfft2(spot, (height, width)) * np.fft.rfft2(rest * shared + np.float32(variation) * own)
        noise[..., channel] = _with_levels_of(np.fft.irfft2(spectrum, (height, width)), plane)
    return noise


def _with_levels_of(values: Array, plane: Array) -> Array:
    """Floats moved to the histogram of levels uint8, by rank."""
    low, high = values.min(), values.max()
    # A flat picture makes no noise: then all is one bin.
    bins = np.minimum((values - low) * (_BINS / ((high - low) or 1)), _BINS - 1).astype(np.int32)
    target = np.bincount(plane.ravel(), minlength=_BINS)
    levels: Array = np.rint(transfer(np.bincount(bins.ravel(), minlength=_BINS), target)).astype(np.uint8)
    matched: Array = levels[bins]
    return matched


def _framed(pixels: Array, margins: Margins, canvas: Callable[[int, int], Array]) -> Array:
    height, width = pixels.shape[:2]
    framed = canvas(height + margins.top + margins.bottom, width + margins.left + margins.right)
    framed[margins.window((width, height)).slices] = pixels
    return framed
