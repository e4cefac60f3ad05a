"""Files and Pillow images, opened, checked against the limit of pixels, decoded and turned upright."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from threading import RLock
from typing import IO

from PIL import ExifTags, Image
from PIL.Image import Transpose

from ...errors import InputError
from . import gif, jpeg, png, tiff, webp
from .formats import HEAD, formats_of
from .limits import MAX_PIXELS
from .parts import Container, at

Encoded = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]
"""A picture's file: its path, its bytes, or the file itself, open for reading bytes."""

MAX_BYTES = 2**30
"""The most bytes that are read from a pipe."""

REDUCIBLE = 4
"""How many times the limit a JPEG may have that is reduced while it is read: a progressive one is held in whole."""

# What Pillow's decoders raise for damaged data: each format has its own taste.
BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, OverflowError, RuntimeError,
    struct.error, zlib.error,
)  # fmt: skip

_RAISING = RLock()

_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


def open_image(
    source: Encoded,
    *,
    max_pixels: int = MAX_PIXELS,
    reduce: bool = False,
    notes: list[str] | None = None,
) -> Image.Image:
    """Decode a file or its bytes as it is stored, the first frame; raises `InputError` as `codec.read` does."""
    notes = [] if notes is None else notes
    if not isinstance(source, str | os.PathLike):
        return _decode(BytesIO(_contents(source)), "the picture's bytes", max_pixels, reduce, notes)
    try:
        with Path(source).open("rb") as stream:
            seekable = stream if stream.seekable() else BytesIO(read_pipe(stream, str(source)))
            return _decode(seekable, str(source), max_pixels, reduce, notes)
    except FileNotFoundError as exc:
        raise InputError(f"{source}: no such file; check the path") from exc
    except IsADirectoryError as exc:
        raise InputError(f"{source}: is a directory; name a picture in it") from exc
    except OSError as exc:
        raise InputError(f"{source}: cannot be read ({exc.strerror}); check the file and its permissions") from exc


def _contents(source: bytes | bytearray | memoryview | IO[bytes]) -> bytes:
    """The bytes of an open file from where it stands, or those that are given."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if not hasattr(source, "read"):
        raise InputError(
            f"a picture is a path, bytes, an open file, a Pillow image or an array, not {type(source).__name__}"
        )
    try:
        data = source.read()
    except (OSError, ValueError) as exc:
        raise InputError(
            f"the picture's file cannot be read ({exc}); open it with mode 'rb', and keep it open"
        ) from exc
    if not isinstance(data, bytes):
        raise InputError(f"the picture's file gives {type(data).__name__}, not bytes; open it with mode 'rb'")
    return data


def read_pipe(stream: IO[bytes], name: str) -> bytes:
    """All of a pipe's bytes, of which a decoder reads some twice; raises `InputError` beyond `MAX_BYTES`."""
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError(f"{name}: has more than {MAX_BYTES} bytes, which no picture needs; write it to a file first")
    return data


def loaded(
    image: Image.Image,
    name: str,
    max_pixels: int,
    reduce: bool,
    notes: list[str],
    frames: int | None = None,
) -> Image.Image:
    """The image with its first frame decoded; a JPEG above the limit reduced while it is read, with `reduce`.
    Raises `InputError` for one above the limit, without pixels, or damaged."""
    _check_pixels(image, name, max_pixels, reduce, notes)
    with _refusing_damage(name), _raised(max_pixels):
        frames = frames or int(getattr(image, "n_frames", 1))
        # HEIC's pictures have one that is meant, and Pillow's plugin opens the file at it.
        if frames > 1 and image.tell() and image.format != "HEIF":
            image.seek(0)
        image.load()
    # The further frames of a phone's pictures are previews and depth maps, not an animation.
    if frames > 1 and image.format not in ("MPO", "HEIF"):
        notes.append(f"{name} has {frames} frames; the first is used")
    return image


def upright(image: Image.Image, notes: list[str]) -> Image.Image:
    """The image turned as its EXIF orientation says; noted where that cannot be read."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except BROKEN as exc:
        notes.append(f"the EXIF data is unreadable ({exc}); the picture is taken to be upright")
        return image
    return image if turn is None else image.transpose(turn)


def _decode(stream: IO[bytes], name: str, max_pixels: int, reduce: bool, notes: list[str]) -> Image.Image:
    head = at(stream, 0, HEAD)
    if not head:
        raise InputError(f"{name}: is empty; it may not have been saved or copied completely")
    formats = formats_of(head, name)
    container = _container(head, stream)
    with _raised(max_pixels):
        image = _opened(container.stream, name, formats)
    if container.profile:
        image.info["icc_profile"] = container.profile
    if container.dropped:
        notes.append(f"{name}: metadata was left out: {', '.join(container.dropped)}")
    image = loaded(image, name, max_pixels, reduce, notes, container.frames if image.format == "PNG" else None)
    return image if container.key is None else png.keyed(image, container.stream, container.key)


def _container(head: bytes, stream: IO[bytes]) -> Container:
    if head.startswith(png.MAGIC):
        return png.container(stream)
    if head.startswith(jpeg.MAGIC):
        return jpeg.container(stream)
    if webp.is_webp(head):
        return webp.container(stream)
    if head.startswith(gif.MAGIC):
        return gif.container(stream)
    if head.startswith(tiff.MAGIC):
        return tiff.container(stream)
    return Container(stream)


def _opened(stream: IO[bytes], name: str, formats: Sequence[str]) -> Image.Image:
    """The image of a stream, nothing decoded: as `Image.open`, but that ours is the only limit of pixels."""
    prefix = at(stream, 0, 16)
    for kind in formats:
        if kind not in Image.OPEN:
            Image.init()
        factory, accept = Image.OPEN[kind]
        if accept is None:  # nothing tells such a file but reading it
            with suppress(*BROKEN):
                stream.seek(0)
                return factory(stream, "")
        elif accept(prefix) is True:
            stream.seek(0)
            with _refusing_damage(name):
                return factory(stream, "")
    raise InputError(f"{name}: is not a picture in a known format; save it as PNG, JPEG or WebP")


def _check_pixels(image: Image.Image, name: str, max_pixels: int, reduce: bool, notes: list[str]) -> None:
    width, height = image.size
    if width * height == 0:
        raise InputError(f"{name}: has no pixels ({width}x{height})")
    if width * height <= max_pixels:
        return
    if reduce and image.format in ("JPEG", "MPO") and width * height <= REDUCIBLE * max_pixels:
        _reduce(image, max_pixels)
        if image.width * image.height <= max_pixels:
            notes.append(
                f"{name}: {width}x{height} is more than the limit of {max_pixels} pixels; it was read at "
                f"{image.width}x{image.height} before it was scaled"
            )
            return
    raise InputError(
        f"{name}: {width}x{height} is more than the limit of {max_pixels} pixels; scale or crop it, raise the limit "
        "(max_pixels, --max-pixels), or give a size, with which a JPEG is reduced while it is read"
    )


def _reduce(image: Image.Image, max_pixels: int) -> None:
    """Have a JPEG decoded at a half, a quarter or an eighth: the most that is within the limit."""
    for part in (2, 4, 8):
        if -(-image.width // part) * -(-image.height // part) <= max_pixels:
            image.draft(None, (image.width // part, image.height // part))
            return


@contextmanager
def _raised(max_pixels: int) -> Iterator[None]:
    """Pillow's own limit, a global that some of its formats heed, raised to ours where that is higher."""
    if Image.MAX_IMAGE_PIXELS is None or max_pixels <= Image.MAX_IMAGE_PIXELS:
        yield
        return
    with _RAISING:
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = usual


@contextmanager
def _refusing_damage(name: str) -> Iterator[None]:
    try:
        yield
    except Image.DecompressionBombError as exc:
        raise InputError(f"{name}: is more than Pillow decodes of this format ({exc}); scale or crop it") from exc
    except BROKEN as exc:
        raise InputError(f"{name}: is truncated or damaged ({exc}); copy or save it again") from exc
