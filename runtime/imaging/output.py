"""Pictures out: PNG, JPEG and WebP files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ...errors import InputError, NoPlaceError, OutputError, unknown
from .metadata import KEY, RECORD_KEY, encode_exif

_PNG_PERCEPTUAL = b"\0"
_LOSSLESS_WEBP = {"lossless": True, "exact": True}  # exact: the colours of transparent pixels too
_EXIF_LIMIT = 65533  # bytes, of the one segment in which JPEG carries EXIF

Destination = str | os.PathLike[str]


@dataclass(frozen=True)
class Format:
    """A kind of file: Pillow's name, the greatest side in pixels, and whether it keeps alpha."""

    name: str
    max_side: int
    alpha: bool
    options: Callable[[int], dict[str, Any]]


_JPEG = Format("JPEG", 65500, False, lambda quality: {"quality": quality, "subsampling": 0})
_WEBP = Format("WEBP", 16383, True, lambda quality: _LOSSLESS_WEBP if quality == 100 else {"quality": quality})
_PNG = Format("PNG", 2**31 - 1, True, lambda quality: {})
FORMATS = {".png": _PNG, ".jpg": _JPEG, ".jpeg": _JPEG, ".webp": _WEBP}


def check_writable(path: Destination, size: tuple[int, int] | None = None, parameters: str | None = None) -> Path:
    """Make sure that a picture can be written to `path`, before any work is done for it; returns it as a `Path`.

    `size` (width, height) and `parameters` are the picture's, where they are known. Raises `InputError` for a suffix
    that names no known format, and for a size or a text that it cannot hold, `OutputError` for a folder that is missing
    or cannot be written to, and for a path that is a folder or a write-protected file.
    """
    path = Path(path)
    _check_no_folder(path)
    form = check_format(path)
    if size:
        _check_side(form, size)
    _metadata(form, parameters)
    check_place(path)
    return path


def check_place(path: Path) -> None:
    """Raise `OutputError` where no file can be written to `path`."""
    if not os.path.isdir(path.parent):
        raise NoPlaceError(f"{path}: the folder {path.parent} does not exist; make it first or choose another")
    _check_no_folder(path)
    try:
        path.lstat()  # a name can be too long for the file system
    except FileNotFoundError:
        pass
    except OSError as exc:
        raise _unwritable(path, exc) from exc
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise OutputError(f"{path}: is write-protected; remove it or choose another name")
    replace(path, None)


def _check_no_folder(path: Path) -> None:
    if os.path.isdir(path):
        raise NoPlaceError(f"{path}: is a folder; name a file in it")


def write(
    path: Destination,
    image: Image.Image,
    parameters: str | None = None,
    *,
    record: str | None = None,
    quality: int = 95,
    strip: bool = False,
) -> tuple[str, ...]:
    """Write `image` (RGB or RGBA) in the format that the path's suffix names, replacing a file that is there.

    Returns notes on what the format could not keep. All else is as for `encode`. The file
    appears complete or not at all, even where the write is interrupted. Raises `OutputError` where it cannot be written
    and `InputError` as `encode` does.
    """
    path = Path(path)
    data, notes = encode(image, path.suffix, parameters, record=record, quality=quality, strip=strip)
    replace(path, data)
    return notes


def encode(
    image: Image.Image,
    suffix: str,
    parameters: str | None = None,
    *,
    record: str | None = None,
    quality: int = 95,
    strip: bool = False,
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of `image` in the format of `suffix` (".png", ".jpg", ".jpeg", ".webp"), and notes.

    `parameters` is the text that A1111's readers find, in a PNG text chunk or in EXIF, and `record` what `replay`
    reads, which is left out, with a note, where it does not fit into a JPEG; the colours are declared sRGB. `strip`
    leaves out all of that. `quality` 1 to 100 is for JPEG, always with full colour resolution, and for WebP, where 100
    is lossless. JPEG has no alpha: transparent pixels are laid on white, which a note says.

    Raises `InputError` for an unknown suffix, a quality out of range, an image of another mode or too large for the
    format, and a text too long for JPEG or with characters that are no Unicode.
    """
    form = check_format(Path(f"picture{suffix}"))
    if image.mode not in ("RGB", "RGBA"):
        raise InputError(f"an image of mode {image.mode} is not written; convert it to RGB or RGBA")
    if not 1 <= quality <= 100:
        raise InputError(f"quality is {quality}; give 1 to 100")
    _check_side(form, image.size)
    image, notes = _without_alpha(image) if image.mode == "RGBA" and not form.alpha else (image, ())
    metadata = {} if strip else _metadata(form, parameters)
    if record is not None and not strip:
        try:
            metadata = _metadata(form, parameters, record)
        except InputError:
            notes = (*notes, "the record for replay does not fit into a JPEG; write PNG or WebP to keep it")
    stream = BytesIO()
    # A copy without `info`: Pillow would write on the profile, EXIF and comments it finds there.
    bare = image.copy()
    bare.info.clear()
    bare.save(stream, form.name, **form.options(quality), **metadata)
    return stream.getvalue(), notes


def numbered(path: Destination, count: int) -> list[Path]:
    """The paths of `count` pictures: `path` itself for one, else out-0001.png, out-0002.png ... beside it."""
    path = Path(path)
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{number:04d}{path.suffix}") for number in range(1, count + 1)]


def replace(path: Path, data: bytes | None) -> None:
    """Put `data` in the place of the file `path`; with None only try whether a file can be made beside it.

    The file appears complete or not at all. Raises `OutputError` where it cannot be written.
    """
    target = Path(os.path.realpath(path))
    # Of its own length: the target's name may be as long as the file system allows.
    part = target.with_name(f".overpaint-{secrets.token_hex(8)}.part")
    try:
        try:
            part.write_bytes(data or b"")
            if data is not None:
                os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as exc:
        raise _unwritable(path, exc) from exc


def _unwritable(path: Path, exc: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written ({exc.strerror}); check the name, the disk and the permissions")


def check_format(path: Path) -> Format:
    """The format that the path's suffix names; raises `InputError` where it names none."""
    suffix = path.suffix.lower()
    if not suffix:
        raise InputError(f"{path}: has no suffix to tell the format by; end it in {', '.join(sorted(FORMATS))}")
    if suffix not in FORMATS:
        raise unknown("output format", suffix, FORMATS)
    return FORMATS[suffix]


def _check_side(form: Format, size: tuple[int, int]) -> None:
    if max(size) > form.max_side:
        raise InputError(f"{form.name} holds {form.max_side} pixels a side, not {size[0]}x{size[1]}; write a PNG")


def _without_alpha(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    lowest, _ = image.getchannel("A").getextrema()
    if lowest == 255:
        return image.convert("RGB"), ()
    white = Image.new("RGBA", image.size, "white")
    note = "JPEG has no transparency: transparent pixels are laid on white; write PNG or WebP to keep them"
    return Image.alpha_composite(white, image).convert("RGB"), (note,)


def _metadata(form: Format, parameters: str | None, record: str | None = None) -> dict[str, Any]:
    try:
        return _png_chunks(parameters, record) if form is _PNG else {"exif": _exif(form, parameters, record)}
    except UnicodeEncodeError as exc:
        raise InputError("the parameters have characters that are no Unicode; give the prompt as UTF-8") from exc


def _png_chunks(parameters: str | None, record: str | None) -> dict[str, Any]:
    chunks = PngInfo()
    chunks.add(b"sRGB", _PNG_PERCEPTUAL)
    if parameters is not None:
        # Text within Latin-1 becomes a tEXt chunk, any other iTXt: Pillow's choice, which A1111 relies on.
        chunks.add_text(KEY, parameters)
    if record is not None:
        chunks.add_text(RECORD_KEY, record)
    return {"pnginfo": chunks}


def _exif(form: Format, parameters: str | None, record: str | None) -> bytes:
    data = encode_exif(parameters, record)
    if form is _JPEG and len(data) > _EXIF_LIMIT:
        raise InputError("the parameters are too long for JPEG (32,000 characters); write PNG or WebP, or strip them")
    return data
