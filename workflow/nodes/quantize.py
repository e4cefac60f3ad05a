"""The node that paints with few colours."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ...bundles.tensor import Array
from ..context import Context
from ..node import node, outputs
from ..sockets import choice, integer, link
from .files import eight_bits

_BAYER = "bayer-"
_DITHERS = ("none", "floyd-steinberg", *(f"{_BAYER}{order}" for order in (2, 4, 8, 16)))


@node(
    "ImageQuantize",
    needed={"image": link("IMAGE"), "colors": integer(256, 1, 256), "dither": choice(_DITHERS)},
    outputs=outputs("IMAGE"),
    category="image/postprocessing",
)
def image_quantize(context: Context, image: Array, colors: int, dither: str) -> Array:
    """Pictures of few colours, which Pillow chooses; dithered, or each pixel its nearest."""
    made = [_quantized(Image.fromarray(eight_bits(picture[..., :3])), colors, dither) for picture in image]
    return np.stack([np.asarray(picture.convert("RGB"), np.float32) / np.float32(255) for picture in made])


def _quantized(picture: Image.Image, colors: int, dither: str) -> Image.Image:
    palette = picture.quantize(colors=colors)
    if dither.startswith(_BAYER):
        picture = _ordered(picture, int(dither.removeprefix(_BAYER)), len(palette.getpalette() or ()) // 3)
    diffused = Image.Dither.FLOYDSTEINBERG if dither == "floyd-steinberg" else Image.Dither.NONE
    return picture.quantize(colors=colors, palette=palette, dither=diffused)


def _ordered(picture: Image.Image, order: int, colors: int) -> Image.Image:
    """A picture shifted by Bayer's matrix of a side, by as much as two steps of the palette."""
    pixels = np.asarray(picture, np.float32)
    spread = 2 * 256 / max(colors, 1)
    shift = (spread * bayer(order) + 0.5).astype(np.float32)
    height, width = pixels.shape[:2]
    tiled = np.tile(shift, (-(-height // order), -(-width // order)))[:height, :width, None]
    return Image.fromarray(np.clip(pixels + tiled, 0, 255).astype(np.uint8))


def bayer(side: int) -> Array:
    """Bayer's matrix (1973) about 0, between -1/2 and 1/2: float64 [side, side], of a power of two."""
    if side == 1:
        return np.zeros((1, 1))
    part, parts = bayer(side // 2) * side**2, side**2
    return np.block([[part - 1.5, part + 0.5], [part + 1.5, part - 0.5]]) / parts
