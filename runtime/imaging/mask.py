"""Masks: where a picture is to be repainted, from whatever file, image or array says so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ...bundles.tensor import Array
from ...errors import InputError, unknown
from .limits import MAX_PIXELS
from .mask_shape import widened
from .picture import Picture, Source
from .picture import read as read_picture

CHANNELS = ("auto", "luma", "alpha")
LATENT_MODES = ("diffusers", "a1111", "cover", "area")

FLOOR = 3
"""Levels up to this are what compression and resampling leave of black."""

HALF = 128
"""The level from which a hard mask repaints a pixel."""


@dataclass(frozen=True, eq=False)
class Mask:
    """How far each pixel is to be repainted: `levels` uint8 [height, width], 0 keeps it and 255 replaces it; and
    `notes` on what was done to the mask that its owner may want to know."""

    levels: Array
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Make the array read-only, so that a mask can be shared."""
        self.levels.setflags(write=False)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        height, width = self.levels.shape
        return width, height


def read(
    source: Source,
    size: tuple[int, int] | None = None,
    *,
    channel: str = "auto",
    invert: bool = False,
    resize: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Mask:
    """Read a mask from what `codec.read` takes; white is repainted.

    `channel` says what is read: "luma" the brightness as it is seen on black, so that paint on a transparent layer
    counts; "alpha" the transparency, so that what is erased is repainted, as ComfyUI reads it (A1111 reads alpha the
    other way round: there `invert` helps); "auto" alpha where it varies, else luma. `size` is the picture's (width,
    height): a mask of another is refused, or with `resize` scaled bilinearly. Levels up to `FLOOR` are 0, with a note.

    Raises `InputError` as `codec.read` does, for an unknown channel, for "alpha" where there is none, for another size
    without `resize`, and for a mask whose brightest level is 1, which must be meant otherwise.
    """
    if channel not in CHANNELS:
        raise unknown("mask channel", channel, CHANNELS)
    notes: list[str] = []
    picture = read_picture(source, max_pixels=max_pixels)
    notes += [f"mask: {note}" for note in picture.notes]
    levels = _transparency(picture, channel, notes)
    if levels is None:
        levels = _luma(picture)
        if levels.max() == 1:
            raise InputError(
                "the mask's brightest level is 1 of 255; give a map of 0 and 1 as bools, and 16-bit levels up to 65535"
            )
    if invert:
        levels = 255 - levels
    levels = _sized(levels, picture.size, size, resize, notes)
    levels = _floored(levels, notes)
    if not levels.any():
        notes.append("the mask is empty: nothing is repainted; white is what is repainted, invert it if that is black")
    elif levels.min() == 255:
        notes.append("the mask is full: the whole picture is repainted, as image-to-image does")
    return Mask(levels, tuple(notes))


def to_latents(levels: Array, downscale: int, mode: str = "diffusers") -> Array:
    """The mask uint8 [height, width] at the latents' size, float32 [height / downscale, width / downscale] in [0, 1].

    "diffusers" takes every `downscale`-th pixel, 1 from level 128 on; "a1111" scales bicubically and rounds to 0 or 1;
    "cover" is 1 where any pixel that a latent stands for is at level 128 or more, so that no thin line is missed, and
    where any is above 0 in a patch that has no such pixel, so that no grey is missed, either;
    "area" is the mean of the pixels a latent stands for, in between too, as differential diffusion wants it;
    "a1111-soft" and "diffusers-soft" are "a1111" and "diffusers" without the rounding, of A1111's soft inpainting.
    Raises `InputError` for sides that are no multiples of `downscale`.
    """
    if mode not in (*LATENT_MODES, "a1111-soft", "diffusers-soft"):
        raise unknown("latent mask", mode, LATENT_MODES)
    height, width = levels.shape
    if height % downscale or width % downscale:
        raise InputError(
            f"a mask of {width}x{height} pixels has no whole latents of {downscale}; pad both sides to multiples"
        )
    size = (width // downscale, height // downscale)
    if mode == "diffusers":
        picked: Array = levels[::downscale, ::downscale] >= HALF
        return picked.astype(np.float32)
    if mode == "a1111":
        return np.rint(_bicubic(levels, size))
    if mode == "a1111-soft":
        return _bicubic(levels, size)
    if mode == "diffusers-soft":
        return levels[::downscale, ::downscale] / np.float32(255)
    cells = levels.reshape(size[1], downscale, size[0], downscale)
    if mode == "cover":
        return _covered(cells.max(axis=(1, 3))).astype(np.float32)
    means: Array = cells.mean(axis=(1, 3), dtype=np.float32) / np.float32(255)
    return means


def _bicubic(levels: Array, size: tuple[int, int]) -> Array:
    scaled: Array = np.asarray(Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC), np.float32)
    return scaled / np.float32(255)


def _transparency(picture: Picture, channel: str, notes: list[str]) -> Array | None:
    alpha = picture.alpha
    if channel == "alpha":
        if alpha is None:
            raise InputError("the mask has no alpha channel; give one with transparency, or read channel 'luma'")
        return 255 - alpha
    if channel == "auto" and alpha is not None and alpha.min() != alpha.max():
        notes.append("mask: read from its transparency, transparent is repainted; channel 'luma' reads its brightness")
        return 255 - alpha
    return None


def _luma(picture: Picture) -> Array:
    luma = np.array(Image.fromarray(picture.pixels).convert("L"))
    if picture.alpha is None:
        return luma
    return ((luma.astype(np.uint16) * picture.alpha + 127) // 255).astype(np.uint8)


def _sized(levels: Array, old: tuple[int, int], new: tuple[int, int] | None, resize: bool, notes: list[str]) -> Array:
    if new is None or new == old:
        return levels
    shown = f"the mask is {old[0]}x{old[1]} pixels, the picture {new[0]}x{new[1]}"
    if not resize:
        raise InputError(f"{shown}; give one of its size, or ask for it to be resized (resize, --resize-mask)")
    notes.append(f"{shown}; the mask is scaled to it")
    return np.array(Image.fromarray(levels).resize(new, Image.Resampling.BILINEAR))


def _floored(levels: Array, notes: list[str]) -> Array:
    """Nearly black as black: it would have the whole picture count as masked."""
    faint = (levels > 0) & (levels <= FLOOR)
    if not faint.any():
        return levels
    notes.append(f"mask: {np.count_nonzero(faint)} pixels of level 1 to {FLOOR} count as black and are kept")
    floored: Array = np.where(faint, np.uint8(0), levels)
    return floored


def _covered(brightest: Array) -> Array:
    """Which cells, uint8 [rows, columns], are free, as bools: all from 128 on, and patches that only have less."""
    strong, painted = brightest >= HALF, brightest > 0
    reached = strong
    while True:
        # Cells touch at their corners, too.
        wider = widened(widened(reached).T).T & painted
        if np.array_equal(wider, reached):
            free: Array = strong | (painted & ~reached)
            return free
        reached = wider
