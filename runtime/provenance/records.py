"""What made a picture, as JSON in its file: everything that is needed to make it again."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...bundles.tensor import Array
from ...errors import InputError
from ...version import __version__
from ..imaging.opening import open_image
from ..imaging.picture import Picture
from ..imaging.tiles import strips
from ..requests.result import Recorder
from ..sampling.plan import Plan

FORMAT = 2
# The frozen dataclasses that a record may hold, and where they live. A tool adds its own, with a method
# `make(pipe) -> Output`, and gives its output the `recorder` of what it has made.
HOMES: Mapping[str, str] = {
    "ToolCall": "..tools.tool_call",
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
# Pixels of a picture that a record may hold on to.
_SMALL = 2**20
# What stands for a class, an array and a picture.
_CLASS, _LEVELS, _PICTURE = "is", "png", "sha256"


@dataclass(frozen=True)
class Reference:
    """A picture that a record names: the hash of its pixels, its (width, height), and the path it was read from."""

    sha256: str
    size: tuple[int, int]
    path: str | None

    def __str__(self) -> str:
        width, height = self.size
        return f"{self.path or 'a picture'} ({width}x{height}, {self.sha256[:10]})"


@dataclass(frozen=True)
class Record:
    """What made a picture.

    `asked` is the request, or a tool's options, as JSON; `model` the bundle's name and hashes by graph;
    `loading` what `overpaint.load` was told; `engines` their labels by graph; `embeddings` the hashes of textual
    inversions by name; `plan` the hash of the table; `together` how many pictures the run had; `result` the hash of the
    picture's pixels.
    """

    version: str
    asked: Any
    model: Mapping[str, Any]
    loading: Mapping[str, Any]
    engines: Mapping[str, str]
    embeddings: Mapping[str, str]
    plan: str | None
    together: int
    result: str

    def __post_init__(self) -> None:
        tables = (self.model, self.loading, self.engines, self.embeddings)
        if not all(isinstance(table, dict) for table in tables) or not isinstance(self.model.get("graphs"), dict):
            raise damaged()
        if not isinstance(self.model.get("name"), str) or not isinstance(self.together, int):
            raise damaged()
        if not isinstance(self.asked, dict) or _CLASS not in self.asked:
            raise damaged()

    def text(self) -> str:
        """The record as it is written into files."""
        return json.dumps({"format": FORMAT, **{field.name: getattr(self, field.name) for field in fields(self)}})

    @classmethod
    def read(cls, text: str) -> Record:
        """The record of a text; raises `InputError` for one of another format and one that is none."""
        try:
            data = json.loads(text)
            version = data.pop("format")
            if version == 1:
                return cls(**{**data, "asked": _upgraded(data["asked"])})
            if version == FORMAT:
                return cls(**data)
        except InputError:
            raise
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as exc:
            raise damaged() from exc
        raise InputError(f"the picture's record has format {version}, this version reads {FORMAT}; update overpaint")

    def references(self) -> list[Reference]:
        """The pictures that it names, in their order."""
        try:
            return list(_references(self.asked))
        except (KeyError, TypeError, ValueError, RecursionError) as exc:
            raise damaged() from exc

    def seen_from(self, folder: Path) -> Record:
        """The record with its pictures' paths, which are seen from the current folder, seen from `folder`."""
        return replace(self, asked=_seen_from(self.asked, os.path.realpath(folder)))


def located(text: str, path: Path) -> str:
    """The text of a record that is written into the file `path`: its pictures' paths are seen from there."""
    return Record.read(text).seen_from(Path(os.path.realpath(path)).parent).text()


@dataclass(frozen=True)
class Maker:
    """What of a loaded model goes into a record: its name, the hashes of its graphs, what `load` was given, the labels
    of the engines, and the hashes of the textual inversions; each by name."""

    name: str
    graphs: Mapping[str, str]
    loading: Mapping[str, Any]
    engines: Mapping[str, str]
    embeddings: Mapping[str, str]


class RecordText:
    """A record of which there is only the text left."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self) -> str:
        """The text."""
        return self._text

    def located(self, path: Path) -> str:
        """The text with the paths of pictures as they are seen from the file `path`."""
        return located(self(), path)


class _Recorder:
    """Packs the record when it is wanted; pickled as its text."""

    def __init__(self, make: Callable[..., Record], asked: Any, result: Callable[[], str]) -> None:
        self._make, self._asked, self._result = make, asked, result

    def __call__(self) -> str:
        return self._make(asked=freeze(self._asked), result=self._result()).text()

    def located(self, path: Path) -> str:
        return located(self(), path)

    def __reduce__(self) -> tuple[type[RecordText], tuple[str]]:
        return RecordText, (self(),)


def recorder(maker: Maker, asked: Any, image: Image.Image, plan: Plan | None = None, together: int = 1) -> Recorder:
    """What gives the text of the record of a picture that a model made for a request, or for a tool's call.

    The rest is as it is now; only packing `asked`, which does not change, is left until the text is wanted: it costs
    the more the larger its masks are, and of a tool's parts nobody wants it. So is the hash of a small picture, which
    takes longer than its copy.
    """
    make = partial(
        Record,
        version=__version__,
        model={"name": maker.name, "graphs": dict(maker.graphs)},
        loading=dict(maker.loading),
        engines=dict(maker.engines),
        embeddings=dict(maker.embeddings),
        plan=None if plan is None else plan_hash(plan),
        together=together,
    )
    return _Recorder(make, asked, _hashed(image))


def _hashed(image: Image.Image) -> Callable[[], str]:
    """What gives the hash of an image as it is now."""
    if image.width * image.height <= _SMALL:
        return partial(image_hash, image.copy())
    known = image_hash(image)
    return lambda: known


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
    return {_CLASS: name, **{field.name: freeze(getattr(value, field.name)) for field in fields(value)}}


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
    kind = _class(data.get(_CLASS))
    given = {name: _thawed(value, pictures) for name, value in data.items() if name != _CLASS}
    if strange := given.keys() - {field.name for field in fields(kind)}:
        raise InputError(
            f"the record has {', '.join(sorted(strange))}, which this version does not know; use the one that wrote it"
        )
    return kind(**given)


def image_hash(image: Image.Image) -> str:
    """The SHA-256 of an image's mode, size and pixels, which are not copied as a whole."""
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode())
    for rows in strips(image.height, image.width):
        digest.update(image.crop((0, rows.start, image.width, rows.stop)).tobytes())
    return digest.hexdigest()


def plan_hash(plan: Plan) -> str:
    """The SHA-256 of a table in float32: machines may differ in the last bits of float64."""
    digest = hashlib.sha256()
    for value in plan.columns():
        digest.update(value.astype(np.float32).tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return digest.hexdigest()


def _upgraded(data: Any) -> Any:
    """What a record of format 1 holds, by today's names."""
    if isinstance(data, list):
        return [_upgraded(item) for item in data]
    if not isinstance(data, dict):
        return data
    name, renamed = _FORMAT_1.get(str(data.get(_CLASS)), (data.get(_CLASS), {}))
    made = {renamed.get(key, key): _upgraded(value) for key, value in data.items()}
    return {**made, _CLASS: name} if _CLASS in data else made


def _references(data: Any) -> Iterator[Reference]:
    if isinstance(data, dict) and _PICTURE in data:
        yield _reference(data)
    elif isinstance(data, dict | list):
        for item in data.values() if isinstance(data, dict) else data:
            yield from _references(item)


def _reference(data: Mapping[str, Any]) -> Reference:
    match data:
        case {"sha256": str(sha256), "size": [int(width), int(height)], "path": str() | None as path}:
            if "\0" not in (path or ""):
                return Reference(sha256, (width, height), path)
    raise damaged()


def _seen_from(data: Any, folder: str) -> Any:
    if isinstance(data, list):
        return [_seen_from(item, folder) for item in data]
    if not isinstance(data, dict):
        return data
    if _PICTURE not in data:
        return {name: _seen_from(value, folder) for name, value in data.items()}
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
