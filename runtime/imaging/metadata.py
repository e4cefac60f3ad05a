"""The text that says how a picture was made, in the layout of A1111's web UI, and where image files carry it."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ...errors import InputError
from .opening import BROKEN, open_image

KEY, RECORD_KEY = "parameters", "overpaint"

_EXIF_START = 8
_EXIF_IFD, _MAKER_NOTE, _USER_COMMENT, _COLOUR_SPACE = 0x8769, 0x927C, 0x9286, 0xA001
_SHORT, _LONG, _UNDEFINED = 3, 4, 7
_SRGB = 1

_NEGATIVE = "Negative prompt:"
# A1111 has no limit, and so takes the square of the length of a line of words.
_NAME = r"\w[\w /-]{1,200}"
_JSON_TEXT = r'"(?:[^"\\]|\\.)+"'
_PAIR = re.compile(rf"({_NAME}):\s*({_JSON_TEXT}|[^,]*)(?:,|\Z)")
_FEWEST_PAIRS = 3


@dataclass(frozen=True)
class Parameters:
    """How a picture was made. None stands for what is not said.

    `size` is (width, height) in pixels. `clip_skip` counts as A1111 does: 1 is the text encoder's last layer, one more
    than diffusers' `clip_skip`. `extra` are further (name, value) pairs; A1111 takes the noise to be its GPU's unless
    there is ("RNG", "CPU"). `version` names the program.
    """

    prompt: str = ""
    negative_prompt: str = ""
    steps: int | None = None
    sampler: str | None = None
    schedule_type: str | None = None
    cfg_scale: float | None = None
    seed: int | None = None
    size: tuple[int, int] | None = None
    model_hash: str | None = None
    model: str | None = None
    denoising_strength: float | None = None
    clip_skip: int | None = None
    extra: tuple[tuple[str, str], ...] = ()
    version: str | None = None


def _size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


# In A1111's order; `extra` comes before the version.
_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "Steps": ("steps", int),
    "Sampler": ("sampler", str),
    "Schedule type": ("schedule_type", str),
    "CFG scale": ("cfg_scale", float),
    "Seed": ("seed", int),
    "Size": ("size", _size),
    "Model hash": ("model_hash", str),
    "Model": ("model", str),
    "Denoising strength": ("denoising_strength", float),
    "Clip skip": ("clip_skip", int),
    "Version": ("version", str),
}


def format_parameters(parameters: Parameters) -> str:
    """The text of A1111's `create_infotext`: the prompt, the negative prompt, and one line of pairs.

    Values with a comma, colon or line break are quoted as JSON, as there, and so are those that its reader would
    alter: quoted or empty ones, and ones with blanks around them. A clip skip of 1 is left out. Raises `InputError`
    for a name in `extra` that the layout cannot carry or has already.

    The layout has no quoting for prompts. `parse_parameters` gets them back except for: blanks around a line, empty
    lines at the beginning and the end, and a line that begins with "Negative prompt:", which is taken for the
    beginning of the negative prompt. A text with fewer than three pairs is all prompt.
    """
    negative = f"\n{_NEGATIVE} {parameters.negative_prompt}" if parameters.negative_prompt else ""
    pairs = ", ".join(f"{name}: {_quoted(value)}" for name, value in _pairs(parameters))
    return f"{parameters.prompt}{negative}\n{pairs}".strip()


def parse_parameters(text: str) -> Parameters:
    """The inverse of `format_parameters`, by the rules of A1111's `parse_generation_parameters`.

    Raises `InputError` where a known field has a value that it cannot have.
    """
    prompt, negative, pairs = split_parameters(text)
    fields: dict[str, Any] = {}
    extra = []
    for name, value in pairs:
        if name in _FIELDS:
            field, convert = _FIELDS[name]
            fields[field] = _converted(name, value, convert)
        else:
            extra.append((name, value))
    return Parameters(prompt, negative, **fields, extra=tuple(extra))


def split_parameters(text: str) -> tuple[str, str, list[tuple[str, str]]]:
    """The prompt, the negative prompt and the (name, value) pairs of a parameters text, values without their quotes."""
    *lines, last = text.strip().split("\n")
    pairs = _PAIR.findall(last)
    if len(pairs) < _FEWEST_PAIRS:
        lines, pairs = [*lines, last], []
    prompts: dict[bool, str] = {False: "", True: ""}
    negative = False
    for line in map(str.strip, lines):
        if line.startswith(_NEGATIVE):
            negative, line = True, line.removeprefix(_NEGATIVE).strip()
        prompts[negative] += f"\n{line}" if prompts[negative] else line
    return prompts[False], prompts[True], [(name, _unquoted(value)) for name, value in pairs]


def read_parameters(source: str | os.PathLike[str] | bytes) -> str | None:
    """The parameters text of a picture's file or its bytes, None where it has none.

    PNG has it in a text chunk "parameters", JPEG, WebP and others in EXIF's UserComment. Raises `InputError` for a
    file that cannot be read.
    """
    image = open_image(source)
    text = image.info.get(KEY)
    return str(text) if isinstance(text, str) else _user_comment(image)


def read_record(source: str | os.PathLike[str] | bytes) -> str | None:
    """The record of how this program made a picture, from its file or its bytes; None where it has none.

    PNG has it in a text chunk "overpaint", JPEG and WebP in EXIF's MakerNote. Raises `InputError` for a file that
    cannot be read.
    """
    image = open_image(source)
    text = image.info.get(RECORD_KEY)
    if isinstance(text, str):
        return str(text)
    note = _exif_value(image, _MAKER_NOTE)
    begin = f"{RECORD_KEY}\0".encode()
    return note.removeprefix(begin).decode(errors="replace") if note and note.startswith(begin) else None


def encode_exif(text: str | None, record: str | None = None) -> bytes:
    """An EXIF block that declares sRGB and carries `text` as the UserComment, in UTF-16 as piexif writes it for A1111,
    and `record` as the MakerNote.

    Made by hand because Pillow gives the comment the type BYTE, for which piexif, and so A1111, does not find it.
    """
    values = {}  # in the order of their tags, as TIFF wants it
    if record is not None:
        values[_MAKER_NOTE] = f"{RECORD_KEY}\0{record}".encode()
    if text is not None:
        values[_USER_COMMENT] = b"UNICODE\0" + text.encode("utf-16-be")
    start = _EXIF_START + _directory_size(1)
    after = start + _directory_size(len(values) + 1)
    entries = []
    for tag, value in values.items():
        entries.append((tag, _UNDEFINED, len(value), struct.pack(">I", after)))
        after += len(value)
    entries.append((_COLOUR_SPACE, _SHORT, 1, struct.pack(">HH", _SRGB, 0)))
    pointer = [(_EXIF_IFD, _LONG, 1, struct.pack(">I", start))]
    header = b"Exif\0\0" + struct.pack(">2sHI", b"MM", 42, _EXIF_START)
    return header + _directory(pointer) + _directory(entries) + b"".join(values.values())


def _directory(entries: list[tuple[int, int, int, bytes]]) -> bytes:
    """A TIFF directory of entries (tag, type, count, four bytes of value), the last of its chain."""
    return struct.pack(">H", len(entries)) + b"".join(struct.pack(">HHI4s", *entry) for entry in entries) + b"\0" * 4


def _directory_size(count: int) -> int:
    return 2 + 12 * count + 4


def _exif_value(image: Image.Image, tag: int) -> bytes | None:
    try:
        value = image.getexif().get_ifd(_EXIF_IFD).get(tag)
    except BROKEN:
        return None
    return value if isinstance(value, bytes) else None


def _user_comment(image: Image.Image) -> str | None:
    comment = _exif_value(image, _USER_COMMENT)
    if comment is None:
        return None
    code, body = comment[:8], comment[8:]
    encoding = {b"UNICODE\0": "utf-16-be", b"ASCII\0\0\0": "ascii"}.get(code, "utf-8")
    return body.decode(encoding, errors="replace").rstrip("\0") or None


def _pairs(parameters: Parameters) -> Iterator[tuple[str, str]]:
    for name, _ in parameters.extra:
        if not re.fullmatch(_NAME, name) or name in _FIELDS or name in ("Prompt", "Negative prompt"):
            raise InputError(f"{name!r} cannot be an extra name; use two or more letters, digits, blanks, '-' or '/'")
    for name, (field, _) in _FIELDS.items():
        if name == "Version":
            yield from parameters.extra
        value = getattr(parameters, field)
        if value is not None and (name, value) != ("Clip skip", 1):
            yield name, _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{value[0]}x{value[1]}"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _quoted(value: str) -> str:
    plain = value and value == value.strip() and value[0] != '"' and not set(value) & set(",:\n\r")
    return value if plain else json.dumps(value, ensure_ascii=False)


def _unquoted(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value


def _converted(name: str, value: str, convert: Callable[[str], Any]) -> Any:
    try:
        return convert(value)
    except ValueError as exc:
        raise InputError(f"the parameters text gives {name} as {value!r}; correct it or take it out") from exc
