"""Image prompts of documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..runtime.imaging.mask import read as read_mask
from ..runtime.imaging.picture import read as read_picture
from ..runtime.requests import checks
from ..runtime.requests.image_prompts import BLOCKS, MOST_WEIGHT, ImagePrompt
from .documents import file_bytes

FIELD = "image_prompts"
_FILE = {"type": "string", "contentEncoding": "base64"}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_WEIGHT = {"type": "number", "minimum": 0, "maximum": MOST_WEIGHT}
_FILES = ("image", "negative_image", "mask")
_OWN: Mapping[str, Any] = {
    "image": _FILE,
    "weight": _WEIGHT,
    "start": _SHARE,
    "end": _SHARE,
    "mask": _FILE,
    "negative_image": _FILE,
    "blocks": {"anyOf": [{"enum": list(BLOCKS)}, {"type": "array", "items": _WEIGHT}]},
}
SCHEMA: Mapping[str, Any] = {
    "type": "array",
    "items": {"type": "object", "properties": _OWN, "required": ["image"], "additionalProperties": False},
    "description": "pictures that steer the model beside the text",
}


def image_prompts(value: Any, max_pixels: int) -> tuple[ImagePrompt, ...]:
    """The image prompts of a list of objects; raises `InputError` for what are none."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise InputError("image_prompts must be a list of objects with an image, see /v1/options", FIELD)
    with checks.of(FIELD):
        return tuple(_one(each, max_pixels) for each in value)


def _one(given: Mapping[str, Any], max_pixels: int) -> ImagePrompt:
    if "image" not in given or not given.keys() <= _OWN.keys():
        raise InputError(f"an image prompt has an image, and may have {', '.join(list(_OWN)[1:])}")
    files = {name: file_bytes(given[name], FIELD) for name in _FILES if name in given}
    read = {name: read_picture(data, max_pixels=max_pixels) for name, data in files.items()}
    made: dict[str, Any] = {**given, **read}
    if "mask" in files:
        made["mask"] = read_mask(files["mask"], read["mask"].size, max_pixels=max_pixels).levels
    return ImagePrompt(**made)
