"""The first enlargement of an upscale: by Lanczos, or by an upscaler of the ESRGAN family as often as is needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from ...bundles.tensor import Array
from ...errors import InputError
from ..imaging.limits import MAX_PIXELS, MAX_SIDE
from ..imaging.picture import Picture
from ..imaging.tiles import strips
from ..model.upscaler import Upscaler

Size = tuple[int, int]


def enlarged_size(size: Size, scale: float) -> Size:
    """(width, height) times `scale`, to nearest; raises `InputError` for more than a picture may have."""
    width, height = (round(length * scale) for length in size)
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        most = min(MAX_SIDE / max(size), (MAX_PIXELS / (size[0] * size[1])) ** 0.5)
        raise InputError(
            f"{size[0]}x{size[1]} enlarged {scale:g} times is {width}x{height}, more than {MAX_PIXELS} pixels or "
            f"{MAX_SIDE} a side; choose a scale of at most {int(most * 100) / 100:g}"
        )
    return width, height


def rounds(size: Size, target: Size, upscaler: Upscaler) -> int:
    """How often an upscaler has to be applied to reach a target; raises `InputError` where that makes too much."""
    count, scale = 0, upscaler.scale
    while scale > 1 and any(length * scale**count < wanted for length, wanted in zip(size, target, strict=True)):
        count += 1
    width, height = (length * scale**count for length in size)
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{upscaler.bundle.model.name} would make {width}x{height} on its way to {target[0]}x{target[1]}, more "
            f"than {MAX_PIXELS} pixels; choose a scale that is a power of its own, {scale}"
        )
    return count


def enlarge(
    picture: Picture,
    size: Size,
    upscaler: Upscaler | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Picture:
    """A picture scaled to `size` (width, height), with its alpha and notes.

    `upscaler` is applied until the size is reached, and what is too much scaled down; it sees transparent pictures on
    white. Scaling is Lanczos, on premultiplied colours where there is alpha. `report` is called as tiles are done.
    """
    count = rounds(picture.size, size, upscaler) if upscaler else 0
    if upscaler is None or not count:
        return _scaled(picture, size)
    pixels = picture.on_white
    for _ in range(count):
        pixels = upscaler(pixels, report)
    alpha = None if picture.alpha is None else lanczos(Image.fromarray(picture.alpha), size)
    return Picture(lanczos(Image.fromarray(pixels), size), alpha, picture.notes)


def lanczos(image: Image.Image, size: Size) -> Array:
    """An image scaled to `size` (width, height), uint8 [height, width(, channels)], a strip of rows at a time: Pillow
    holds a picture in other layouts than numpy, of which none is whole here."""
    width, height = size
    bands = len(image.getbands())
    made = np.empty((height, width, bands)[: 2 + (bands > 1)], np.uint8)
    # Along x first, as Pillow does it. Along y its filter reaches beyond the box: strips are those of the whole.
    premultiplied = image.convert("RGBa") if image.mode == "RGBA" else image
    wide = premultiplied.resize((width, image.height), Image.Resampling.LANCZOS)
    for rows in strips(height, width):
        box = (0, rows.start * image.height / height, width, rows.stop * image.height / height)
        strip = wide.resize((width, rows.stop - rows.start), Image.Resampling.LANCZOS, box=box)
        made[rows] = np.asarray(strip.convert(image.mode))
    return made


def _scaled(picture: Picture, size: Size) -> Picture:
    if size == picture.size:
        return picture
    made = lanczos(picture.image, size)
    alpha = None if picture.alpha is None else made[..., 3].copy()
    return Picture(np.ascontiguousarray(made[..., :3]), alpha, picture.notes)


def extended(pixels: Array, shape: tuple[int, int]) -> Array:
    """Pixels [height, width, 3] mirrored on the right and at the bottom to a shape that the model takes."""
    margins = [(0, wanted - length) for wanted, length in zip(shape, pixels.shape[:2], strict=True)]
    return np.pad(pixels, (*margins, (0, 0)), "symmetric") if any(map(any, margins)) else pixels
