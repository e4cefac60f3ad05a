"""Image prompts of documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..runtime.imaging.mask import read as read_mask
from ..runtime.imaging.picture import read as read_picture
from ..runtime.requests import checks
from ..runtime.requests.image_prompts import BLOCKS, MOST_WEIGHT, ImagePrompt
from .adapters import FILE, NAME, SHARE, check_name, objects
from .documents import file_bytes

FIELD = "image_prompts"
_WEIGHT = {"type": "number", "minimum": 0, "maximum": MOST_WEIGHT}
_FILES = ("image", "negative_image", "mask")
_OWN: Mapping[str, Any] = {
    "image": FILE,
    "weight": {**_WEIGHT, "default": 1},
    "start": {**SHARE, "default": 0},
    "end": {**SHARE, "default": 1},
    "mask": FILE,
    "negative_image": FILE,
    "blocks": {"anyOf": [{"enum": list(BLOCKS)}, {"type": "array", "items": _WEIGHT}]},
    "adapter": NAME,
}
SCHEMA: Mapping[str, Any] = {
    "type": "array",
    "items": {"type": "object", "properties": _OWN, "required": ["image"], "additionalProperties": False},
    "description": "pictures that steer the model beside the text",
}


def image_prompts(value: Any, max_pixels: int) -> tuple[ImagePrompt, ...]:
    """The image prompts of a list of objects; raises `InputError` for what are none."""
    with checks.of(FIELD):
        given = objects(value, FIELD, _OWN, "image")
        return tuple(_one(each, f"{FIELD}[{index}]", max_pixels) for index, each in enumerate(given))


def _one(given: Mapping[str, Any], place: str, max_pixels: int) -> ImagePrompt:
    check_name("an image prompt's adapter", given.get("adapter", ""))
    files = {name: file_bytes(given[name], f"{place}.{name}") for name in _FILES if name in given}
    read = {name: read_picture(data, max_pixels=max_pixels) for name, data in files.items()}
    made: dict[str, Any] = {**given, **read}
    if "mask" in files:
        made["mask"] = read_mask(files["mask"], read["mask"].size, max_pixels=max_pixels).levels
    return ImagePrompt(**made)
