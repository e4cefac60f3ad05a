"""Pictures in: files, bytes, Pillow images and arrays become sRGB pixels; and pixels become what a model takes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from ...bundles.tensor import Array
from ...engines.arrays import namespace_of
from ...errors import InputError
from .colour import alpha_of, to_srgb
from .limits import MAX_PIXELS, MAX_SIDE
from .opening import Encoded, loaded, open_image, upright
from .png import key_scale, level_key
from .tiles import strips

Source = Encoded | Image.Image | Array

MAX_ASPECT = 32


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture: `pixels` uint8 [height, width, 3] in sRGB, `alpha` uint8 [height, width] or None where it is opaque
    by its format, `notes` on what was done to it that its owner may want to know, and the `path` it was read from."""

    pixels: Array
    alpha: Array | None = None
    notes: tuple[str, ...] = ()
    path: str | None = None

    def __repr__(self) -> str:
        width, height = self.size
        return f"Picture({width}x{height}{f', {self.path}' if self.path else ''})"

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


def read(source: Source, *, max_pixels: int = MAX_PIXELS, reduce: bool = False) -> Picture:
    """Read a picture upright and in sRGB, its alpha kept aside.

    `source` is a path, an encoded file's bytes, a file open for reading bytes, a Pillow image, or an array [height,
    width] or [height, width, 1 | 3 | 4] of uint8, uint16, bool, or float in [0, 1]. EXIF orientation is applied, ICC
    profiles are converted, 16-bit and float greys are scaled to 8 bits, and of an animation the first frame is taken.
    Metadata that is damaged or too large is left out with a note.

    `max_pixels` is the most that is decoded. With `reduce`, for a picture that will be scaled anyway, a JPEG of up to
    `opening.REDUCIBLE` times as many is read at a half, a quarter or an eighth, with a note.

    Raises `InputError` for a file that is missing, empty, truncated or no picture, for a format whose library is not
    installed, for one of more than `max_pixels`, and for an array of another kind.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    notes: list[str] = []
    if isinstance(source, Image.Image):
        scale = key_scale(source)
        image = level_key(loaded(source, "the picture", max_pixels, reduce, notes), scale, notes)
    else:
        image = open_image(source, max_pixels=max_pixels, reduce=reduce, notes=notes)
    image = upright(image, notes)
    alpha = alpha_of(image)
    path = str(source) if isinstance(source, str | os.PathLike) else None
    return Picture(to_srgb(image, notes), alpha, tuple(notes), path)


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


def from_model(decoded: Array, truncate: bool = False) -> list[Array]:
    """What a VAE decoded, float [n, 3, height, width], as n arrays of pixels uint8 [height, width, 3] on its device.

    Values beyond [-1, 1] are clipped, the rest rounded to nearest, as diffusers' `VaeImageProcessor` does; with
    `truncate` rounded down, as A1111 (modules/processing.py) and ComfyUI (nodes.py, SaveImage) do.
    """
    xp = namespace_of(decoded)
    levels = _shares(decoded)
    xp.clip(levels, 0, 1, out=levels)
    levels *= 255
    if not truncate:
        xp.rint(levels, out=levels)
    planes = levels.astype(np.uint8)
    # Several times as fast as a copy of the transposed array: numpy moves whole rows of a plane.
    return list(xp.stack([planes[:, channel] for channel in range(3)], axis=-1))


def floats_from_model(decoded: Array) -> list[Array]:
    """The same as float32 [height, width, 3], white as 1, neither clipped nor rounded."""
    return [shares.transpose(1, 2, 0) for shares in _shares(decoded)]


def _shares(decoded: Array) -> Array:
    shares: Array = decoded.astype(np.float32) / np.float32(2)
    shares += np.float32(0.5)
    return shares


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
