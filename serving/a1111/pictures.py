"""The pictures and masks that A1111's calls bring."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from PIL import Image

from ...errors import InputError, RefusedError
from ...runtime.imaging import mask as masks
from ...runtime.imaging.mask import Mask
from ...runtime.imaging.opening import open_image
from ...runtime.imaging.output import encode
from ...runtime.imaging.picture import Picture
from ...runtime.imaging.picture import read as read_picture
from ...runtime.imaging.resize import fit
from ...runtime.requests import checks
from ..documents import file_bytes

Size = tuple[int, int]
GREY = (127, 127, 127)
OPAQUE = (255, 255)
HALF = 128


def image_bytes(value: Any, field: str) -> bytes:
    """A picture's file from base64 or a data URL; raises `RefusedError` (400) for what is none.

    Addresses are not followed.
    """
    try:
        data = file_bytes(value, field)
    except (InputError, binascii.Error) as exc:
        raise RefusedError(f"Invalid encoded image: {exc}", 400, "invalid_input") from None
    if not data:
        raise RefusedError(f"Invalid encoded image: {field} is empty; send the file", 400, "invalid_input")
    return data


def read_image(value: Any, field: str, max_pixels: int) -> Picture:
    """The picture of base64 or a data URL."""
    with checks.of(field):
        return read_picture(image_bytes(value, field), max_pixels=max_pixels)


def read_mask(value: Any, picture: Picture, invert: bool, max_pixels: int) -> Mask:
    """A mask of a picture's size, as A1111 reads it: white is repainted; of one with alpha, what is opaque."""
    with checks.of("mask"):
        image = open_image(image_bytes(value, "mask"), max_pixels=max_pixels)
        if image.mode in ("RGBA", "LA", "PA") and image.convert("RGBA").getchannel("A").getextrema() != OPAQUE:
            levels = image.convert("RGBA").getchannel("A").point(lambda level: 255 if level > HALF else 0)
        else:
            levels = image.convert("L")
        return masks.read(levels, picture.size, invert=invert, resize=True, max_pixels=max_pixels)


def fitted(picture: Picture, mask: Mask | None, size: Size, mode: str) -> tuple[Picture, Mask | None]:
    """A picture, and its mask, brought to a size by a resize mode."""
    made = fit(picture, size, mode, 1)[0] if picture.size != size else picture
    if mask is None or mask.size == size:
        return made, mask
    grey = read_picture(Image.fromarray(mask.levels).convert("RGB"))
    return made, masks.read(fit(grey, size, mode, 1)[0].image, size)


def blank(size: Size) -> tuple[Picture, Any]:
    """A picture of nothing, and a mask uint8 [height, width] that has all of it."""
    return read_picture(Image.new("RGB", size, GREY)), masks.read(Image.new("L", size, 255), size).levels


def base64_png(image: Image.Image) -> str:
    """A picture as PNG in base64, as answers have it."""
    return base64.b64encode(encode(image, ".png", None)[0]).decode()


def resized(picture: Picture, size: Size, nearest: bool = False) -> Picture:
    """A picture scaled to a size by Lanczos, or by the nearest pixel."""
    if picture.size == size:
        return picture
    if nearest:
        return read_picture(picture.image.resize(size, Image.Resampling.NEAREST))
    return fit(picture, size, "stretch", 1)[0]


def check_pixels(size: Size, most: int, field: str) -> None:
    """Raise `InputError` for more pixels than a server allows."""
    width, height = size
    if width * height > most:
        raise InputError(f"{width}x{height} is more than {most} pixels; ask for less", field)
