"""A1111's extras: pictures enlarged without a diffusion model, and what a picture's file says of how it was made."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from typing import Any

from PIL import Image

from ...errors import InputError, unknown
from ...runtime.imaging.metadata import read_parameters, split_parameters
from ...runtime.imaging.opening import open_image
from ...runtime.imaging.output import encode
from ...runtime.imaging.picture import Picture
from ...runtime.imaging.picture import read as read_picture
from ...runtime.requests import checks
from ...runtime.tools.enlarge import enlarge, enlarged_size
from ..service import Service
from .fields import Call
from .lists import LANCZOS, NEAREST, NONE
from .pictures import image_bytes, resized

Size = tuple[int, int]


def enhanced(service: Service, call: Call, value: Any) -> tuple[str, str]:
    """A picture enlarged as a call says: its base64, and what was done in HTML.

    Raises `InputError` for an upscaler that there is not, and for a size that no picture has.
    """
    data, most = image_bytes(value, "image"), service.settings.max_pixels
    with checks.of("image"):
        picture = read_picture(data, max_pixels=most)
        text = read_parameters(data)
    target = _target(call, picture.size)
    if target[0] * target[1] > most:
        raise InputError(f"the result would be {target[0]}x{target[1]}, more than {most} pixels; ask for less")
    first, done = _enlarged(service, picture, call["upscaler_1"], "upscaler_1", target), ""
    if call["upscaler_1"] != NONE:
        done = f"Postprocess upscale to: {target[0]}x{target[1]}, Postprocess upscaler: {call['upscaler_1']}"
    share = call["extras_upscaler_2_visibility"]
    image = first.image
    if call["upscaler_2"] != NONE and share:
        if not 0 <= share <= 1:
            raise InputError(f"extras_upscaler_2_visibility is {share:g}; give 0 to 1")
        second = _enlarged(service, picture, call["upscaler_2"], "upscaler_2", target).image
        image = Image.blend(image, second.resize(image.size), share)
        done += f", Postprocess upscaler 2: {call['upscaler_2']}"
    if call["resize_mode"] == 1 and call["upscaling_crop"] and call["upscaler_1"] != NONE:
        image = _cropped(image, (call["upscaling_resize_w"], call["upscaling_resize_h"]))
    file, _ = encode(image, ".png", "\n".join(part for part in (text, done) if part) or None)
    return base64.b64encode(file).decode(), f"<p>{html.escape(done)}</p>"


def png_info(value: Any, max_pixels: int) -> dict[str, Any]:
    """What a picture's file carries: A1111's text, all texts, and the text's parts by name."""
    data = image_bytes(value, "image")
    with checks.of("image"):
        image = open_image(data, max_pixels=max_pixels)
        text = read_parameters(data) or ""
    items = {name: each for name, each in image.info.items() if isinstance(each, str) and name != "parameters"}
    return {"info": text, "items": {"parameters": text, **items} if text else items, "parameters": _parsed(text)}


def _parsed(text: str) -> Mapping[str, str]:
    if not text:
        return {}
    prompt, negative, pairs = split_parameters(text)
    made = {"Prompt": prompt, "Negative prompt": negative}
    for name, value in pairs:
        width, cross, height = value.partition("x")
        if cross and width.isdecimal() and height.isdecimal():
            made |= {f"{name}-1": width, f"{name}-2": height}
        else:
            made[name] = value
    return made


def _target(call: Call, size: Size) -> Size:
    """The size that is enlarged to, before it is cut."""
    if call["resize_mode"] == 0:
        if not 0 < call["upscaling_resize"] <= 16:
            raise InputError(f"upscaling_resize is {call['upscaling_resize']:g}; give at most 16", "upscaling_resize")
        return enlarged_size(size, call["upscaling_resize"])
    if call["resize_mode"] != 1:
        raise InputError(f"resize_mode is {call['resize_mode']}; give 0, by a factor, or 1, to a size", "resize_mode")
    width, height = call["upscaling_resize_w"], call["upscaling_resize_h"]
    if min(width, height) < 1:
        raise InputError("upscaling_resize_w and upscaling_resize_h are 1 or more", "upscaling_resize_w")
    # A1111 covers the size, by the one factor that does.
    return enlarged_size(size, max(width / size[0], height / size[1]))


def _enlarged(service: Service, picture: Picture, name: str, field: str, target: Size) -> Picture:
    if name == NONE:
        return picture
    if name in (LANCZOS, NEAREST):
        return resized(picture, target, name == NEAREST)
    if name not in service.upscalers:
        raise unknown("upscaler", name[:64], (NONE, LANCZOS, NEAREST, *service.upscalers), field)
    return enlarge(picture, target, service.upscalers[name])


def _cropped(image: Image.Image, size: Size) -> Image.Image:
    """The middle of an image, of a size that it has."""
    width, height = size
    left, top = max(image.width - width, 0) // 2, max(image.height - height, 0) // 2
    return image.crop((left, top, left + min(width, image.width), top + min(height, image.height)))
