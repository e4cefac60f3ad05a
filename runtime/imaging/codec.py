"""Pictures in: files, bytes, Pillow images and arrays become sRGB pixels; and pixels become what a model takes."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ...engines.base import Array, InputError
from ...engines.buffers import namespace_of
from .colour import alpha_of, to_srgb
from .tiles import strips

Source = str | os.PathLike[str] | bytes | Image.Image | Array

MAX_PIXELS = 2**26
"""The most pixels that are decoded: 8192 x 8192, 200 MB as RGB."""

MAX_SIDE = 16384
MAX_ASPECT = 32

# What Pillow's decoders raise for damaged data: each format has its own taste.
BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, OverflowError, RuntimeError,
    struct.error, zlib.error,
)  # fmt: skip

# Not all that Pillow knows: some of its formats, such as EPS, hand the file to another program.
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "ICO", "TGA")


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture: `pixels` uint8 [height, width, 3] in sRGB, `alpha` uint8 [height, width] or None where it is opaque
    by its format, `notes` on what was done to it that its owner may want to know, and the `path` it was read from."""

    pixels: Array
    alpha: Array | None = None
    notes: tuple[str, ...] = ()
    path: str | None = None

    def __post_init__(self) -> None:
        """Make the arrays read-only, so that a picture can be shared and cached."""
        for array in (self.pixels, self.alpha):
            if array is not None:
                array.setflags(write=False)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        height, width = self.pixels.shape[:2]
        return width, height

    @cached_property
    def sha256(self) -> str:
        """The hash of its pixels and its alpha."""
        digest = hashlib.sha256(f"{self.size}".encode())
        for array in (self.pixels, self.alpha):
            if array is not None:
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @property
    def on_white(self) -> Array:
        """What is seen of the picture on white, uint8 [height, width, 3]: transparent pixels can hide any colour."""
        if self.alpha is None:
            return self.pixels
        seen = np.empty_like(self.pixels)
        for rows in strips(*self.alpha.shape):
            levels = 255 - (255 - self.pixels[rows].astype(np.uint32)) * self.alpha[rows, :, None] / 255
            seen[rows] = np.rint(levels)
        return seen

    @property
    def image(self) -> Image.Image:
        """The picture as a Pillow image, RGB or RGBA."""
        image = Image.fromarray(self.pixels)
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        return image


def read(source: Source, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture upright and in sRGB, its alpha kept aside.

    `source` is a path, an encoded file's bytes, a Pillow image, or an array [height, width] or
    [height, width, 1 | 3 | 4] of uint8, uint16, bool, or float in [0, 1]. EXIF orientation is applied, ICC profiles are
    converted, 16-bit and float greys are scaled to 8 bits, and of an animation the first frame is taken.

    Raises `InputError` for a file that is missing, empty, truncated or no picture, for one of more than `max_pixels`,
    and for an array of another kind.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    notes: list[str] = []
    if isinstance(source, Image.Image):
        image = _loaded(source, "the picture", max_pixels, notes)
    else:
        image = open_image(source, max_pixels=max_pixels, notes=notes)
    image = _upright(image, notes)
    alpha = alpha_of(image)
    path = str(source) if isinstance(source, str | os.PathLike) else None
    return Picture(to_srgb(image, notes), alpha, tuple(notes), path)


def open_image(
    source: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS, notes: list[str] | None = None
) -> Image.Image:
    """Decode a file or its bytes as it is stored, the first frame; raises `InputError` as `read` does."""
    notes = [] if notes is None else notes
    if isinstance(source, bytes):
        return _decode(BytesIO(source), "the picture's bytes", max_pixels, notes)
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"a picture is a path, bytes, a Pillow image or an array, not {type(source).__name__}")
    try:
        with Path(source).open("rb") as stream:
            return _decode(stream, str(source), max_pixels, notes)
    except FileNotFoundError as exc:
        raise InputError(f"{source}: no such file; check the path") from exc
    except IsADirectoryError as exc:
        raise InputError(f"{source}: is a directory; name a picture in it") from exc
    except OSError as exc:
        raise InputError(f"{source}: cannot be read ({exc.strerror}); check the file and its permissions") from exc


def check_size(size: tuple[int, int], multiple: int, name: str = "the picture") -> None:
    """Raise `InputError` for a (width, height) that no model can work on: less than `multiple`, the pixels along a
    latent, more than `MAX_SIDE`, or more than `MAX_ASPECT` times as long as wide."""
    width, height = size
    shown = f"{name} is {width}x{height} pixels"
    if min(size) < multiple:
        raise InputError(f"{shown}, the model needs at least {multiple}x{multiple}; enlarge it")
    if max(size) > MAX_SIDE:
        raise InputError(f"{shown}, at most {MAX_SIDE} a side is possible; scale it down")
    if max(size) > MAX_ASPECT * min(size):
        raise InputError(f"{shown}, a shape beyond {MAX_ASPECT}:1; crop it, or pad it to a broader shape")


def to_model(pixels: Array) -> Array:
    """Pixels [height, width, 3] from 0 to 255 as the float32 [1, 3, height, width] in [-1, 1] that a VAE encodes, on
    their device."""
    scaled: Array = namespace_of(pixels).ascontiguousarray(pixels.transpose(2, 0, 1)[None]).astype(np.float32)
    scaled /= 255
    scaled *= 2
    scaled -= 1
    return scaled


def from_model(decoded: Array) -> list[Array]:
    """What a VAE decoded, float [n, 3, height, width], as n arrays of pixels uint8 [height, width, 3] on its device.

    Values beyond [-1, 1] are clipped, the rest rounded to nearest, as diffusers' `VaeImageProcessor` does.
    """
    xp = namespace_of(decoded)
    levels = decoded.astype(np.float32) / np.float32(2)
    levels += np.float32(0.5)
    xp.clip(levels, 0, 1, out=levels)
    levels *= 255
    xp.rint(levels, out=levels)
    planes = levels.astype(np.uint8)
    # Several times as fast as a copy of the transposed array: numpy moves whole rows of a plane.
    return list(xp.stack([planes[:, channel] for channel in range(3)], axis=-1))


def _decode(stream: IO[bytes], name: str, max_pixels: int, notes: list[str]) -> Image.Image:
    if not stream.read(1):
        raise InputError(f"{name}: is empty; it may not have been saved or copied completely")
    stream.seek(0)
    try:
        image = Image.open(stream, formats=FORMATS)
    except UnidentifiedImageError as exc:
        raise InputError(f"{name}: is not a picture in a known format; save it as PNG, JPEG or WebP") from exc
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise InputError(f"{name}: has more than the limit of {max_pixels} pixels; scale or crop it") from exc
    except BROKEN as exc:
        raise _damaged(name, exc) from exc
    return _loaded(image, name, max_pixels, notes)


def _loaded(image: Image.Image, name: str, max_pixels: int, notes: list[str]) -> Image.Image:
    width, height = image.size
    if width * height == 0:
        raise InputError(f"{name}: has no pixels ({width}x{height})")
    if width * height > max_pixels:
        raise InputError(f"{name}: {width}x{height} is more than the limit of {max_pixels} pixels; scale or crop it")
    try:
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.tell():
            image.seek(0)
        image.load()
    except BROKEN as exc:
        raise _damaged(name, exc) from exc
    # The further frames of a phone's MPO are previews and depth maps, not an animation.
    if frames > 1 and image.format != "MPO":
        notes.append(f"{name} has {frames} frames; the first is used")
    return image


def _damaged(name: str, exc: BaseException) -> InputError:
    return InputError(f"{name}: is truncated or damaged ({exc}); copy or save it again")


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    try:
        upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        return image if upright else ImageOps.exif_transpose(image)  # which copies either
    except BROKEN as exc:
        notes.append(f"the EXIF data is unreadable ({exc}); the picture is taken to be upright")
        return image


def _from_array(array: Array) -> Picture:
    shaped = array[..., None] if array.ndim == 2 else array
    if shaped.ndim != 3 or shaped.shape[2] not in (1, 3, 4) or shaped.size == 0:
        raise InputError(
            f"an array of shape {list(array.shape)} is no picture; give [height, width] or [height, width, 1 | 3 | 4]"
        )
    levels = _levels(shaped)
    if levels.shape[2] == 1:
        return Picture(np.repeat(levels, 3, axis=2))
    return Picture(levels[..., :3].copy(), levels[..., 3].copy() if levels.shape[2] == 4 else None)


def _levels(array: Array) -> Array:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        rounded: Array = (array.astype(np.uint32) * 255 + 32767) // 65535
        return rounded.astype(np.uint8)
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):
            raise InputError(f"a float picture lies in [0, 1], this one in [{array.min()}, {array.max()}]; scale it")
        rounded = np.rint(array * 255)
        return rounded.astype(np.uint8)
    raise InputError(f"a picture of {array.dtype} is not known; give uint8, uint16, bool, or float in [0, 1]")
