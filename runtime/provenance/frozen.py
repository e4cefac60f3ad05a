"""Requests and tools' calls as JSON and back: frozen dataclasses by name, pictures by their hash, masks as they are."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...bundles.tensor import Array
from ...errors import InputError
from ..imaging.opening import open_image
from ..imaging.picture import Picture

# The frozen dataclasses that a record may hold, and where they live. A tool adds its own, with a method
# `make(pipe) -> Output`, and gives its output the `recorder` of what it has made.
HOMES: Mapping[str, str] = {
    "ToolCall": "..tools.tool_call",
    "Control": "..requests.controls",
    "DepthMap": "..requests.places",
    "ImagePrompt": "..requests.image_prompts",
    "InpaintMask": "..requests.places",
    "Region": "..requests.places",
    "Request": "..requests.request",
    "Soft": "..imaging.soft",
}


# What format 1 called classes and their fields.
_FORMAT_1: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "Asked": ("ToolCall", {}),
    "Change": (
        "InpaintMask",
        {"levels": "mask", "gradual": "differential", "softness": "soft", "soft": "soft_settings"},
    ),
    "Region": ("Region", {"levels": "mask"}),
    "Request": ("Request", {"change": "inpaint_mask"}),
}
# What stands for a class, an array and a picture.
CLASS, _LEVELS, _PICTURE = "is", "png", "sha256"


@dataclass(frozen=True)
class Reference:
    """A picture that a record names: the hash of its pixels, its (width, height), and the path it was read from."""

    sha256: str
    size: tuple[int, int]
    path: str | None

    def __str__(self) -> str:
        width, height = self.size
        return f"{self.path or 'a picture'} ({width}x{height}, {self.sha256[:10]})"


def freeze(value: Any) -> Any:
    """A request or a tool's options as JSON; pictures by their hash, levels uint8 [height, width] as they are.

    Raises `TypeError` for what has no place in a record, which is the programmer's mistake.
    """
    match value:
        case Picture():
            return {_PICTURE: value.sha256, "size": list(value.size), "path": value.path}
        case np.ndarray() if value.dtype == np.uint8 and value.ndim == 2:
            return {_LEVELS: _packed(value)}
        case np.generic():
            return value.item()
        case tuple() | list():
            return [freeze(item) for item in value]
        case None | bool() | int() | float() | str():
            return value
    name = type(value).__name__
    if not is_dataclass(value) or name not in HOMES:
        raise TypeError(f"a record cannot hold {name}")
    return {CLASS: name, **{field.name: freeze(getattr(value, field.name)) for field in fields(value)}}


def thaw(data: Any, pictures: Callable[[Reference], Picture]) -> Any:
    """What `freeze` was given, lists as tuples; `pictures` finds a picture again.

    Raises `InputError` for what this version does not know, and as the classes do.
    """
    try:
        return _thawed(data, pictures)
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as exc:
        raise damaged() from exc


def _thawed(data: Any, pictures: Callable[[Reference], Picture]) -> Any:
    if isinstance(data, list):
        return tuple(_thawed(item, pictures) for item in data)
    if not isinstance(data, dict):
        return data
    if _PICTURE in data:
        return pictures(_reference(data))
    if _LEVELS in data:
        return _unpacked(data[_LEVELS])
    kind = _class(data.get(CLASS))
    given = {name: _thawed(value, pictures) for name, value in data.items() if name != CLASS}
    if strange := given.keys() - {field.name for field in fields(kind)}:
        raise InputError(
            f"the record has {', '.join(sorted(strange))}, which this version does not know; use the one that wrote it"
        )
    return kind(**given)


def upgraded(data: Any) -> Any:
    """What a record of format 1 holds, by today's names."""
    if isinstance(data, list):
        return [upgraded(item) for item in data]
    if not isinstance(data, dict):
        return data
    name, renamed = _FORMAT_1.get(str(data.get(CLASS)), (data.get(CLASS), {}))
    made = {renamed.get(key, key): upgraded(value) for key, value in data.items()}
    return {**made, CLASS: name} if CLASS in data else made


def references(data: Any) -> Iterator[Reference]:
    """The pictures that frozen data names; raises as Python does where it is damaged."""
    if isinstance(data, dict) and _PICTURE in data:
        yield _reference(data)
    elif isinstance(data, dict | list):
        for item in data.values() if isinstance(data, dict) else data:
            yield from references(item)


def _reference(data: Mapping[str, Any]) -> Reference:
    match data:
        case {"sha256": str(sha256), "size": [int(width), int(height)], "path": str() | None as path}:
            if "\0" not in (path or ""):
                return Reference(sha256, (width, height), path)
    raise damaged()


def seen_from(data: Any, folder: str) -> Any:
    """Frozen data with the paths of its pictures as they are seen from a folder."""
    if isinstance(data, list):
        return [seen_from(item, folder) for item in data]
    if not isinstance(data, dict):
        return data
    if _PICTURE not in data:
        return {name: seen_from(value, folder) for name, value in data.items()}
    path = data["path"]
    return data if path is None else {**data, "path": _relative(path, folder)}


def _relative(path: str, folder: str) -> str:
    # Links are resolved on both ends: "../in" is then the same folder however the file is reached.
    place = Path(path)
    real = os.path.join(os.path.realpath(place.parent), place.name)
    try:
        return Path(os.path.relpath(real, folder)).as_posix()
    except ValueError:  # another drive
        return Path(real).as_posix()


def damaged() -> InputError:
    """The error for a record that is none."""
    return InputError("the picture's record is damaged; make the picture anew from its parameters")


def _class(name: Any) -> Any:
    if name not in HOMES:
        raise InputError(f"the record is of {name!r}, which this version cannot make; use the one that wrote it")
    return getattr(import_module(HOMES[name], __package__), name)


def _packed(levels: Array) -> str:
    stream = BytesIO()
    Image.fromarray(levels).save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


def _unpacked(text: str) -> Array:
    return np.array(open_image(base64.b64decode(text)))
