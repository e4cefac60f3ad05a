"""Masks: where a picture is to be repainted, from whatever file, image or array says so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from ...bundles.tensor import Array
from ...errors import InputError, unknown
from .limits import MAX_PIXELS
from .picture import Picture, Source
from .picture import read as read_picture
from .tiles import Window, strips

CHANNELS = ("auto", "luma", "alpha")
BLURS = ("a1111", "diffusers")
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


def blur(levels: Array, x: float, y: float | None = None, kind: str = "a1111") -> Array:
    """The mask uint8 [height, width] blurred by a Gaussian of sigma `x` along rows and `y` (or `x`) along columns, px.

    "a1111" is its mask blur: OpenCV's GaussianBlur with kernels of 2 int(2.5 sigma + 0.5) + 1 taps, edges mirrored,
    rounded after each axis (OpenCV's 8-bit kernels are coarser: it is up to some levels off); "diffusers" is
    `VaeImageProcessor.blur`: Pillow's, of three box filters. Raises `InputError` for another kind or a negative sigma.
    """
    y = x if y is None else y
    if not (x >= 0 and y >= 0):
        raise InputError(f"a mask's blur is a width of at least 0 pixels, not {x:g} by {y:g}")
    if kind not in BLURS:
        raise unknown("mask blur", kind, BLURS)
    if kind == "diffusers":
        return np.array(Image.fromarray(levels).filter(ImageFilter.GaussianBlur((x, y))))
    along_rows = _blur_rows(levels, x)
    return np.ascontiguousarray(_blur_rows(along_rows.T, y).T)


def blur_reach(sigma: float) -> int:
    """How many pixels a blur of A1111's kind spreads a mask."""
    return int(2.5 * sigma + 0.5)


def kernel(sigma: float) -> Array:
    """The taps of such a blur, float32 [2 blur_reach(sigma) + 1], which sum to 1."""
    reach = blur_reach(sigma)
    taps = np.exp(-(np.arange(-reach, reach + 1, dtype=np.float64) ** 2) / (2 * max(sigma, 1e-3) ** 2))
    weights: Array = (taps / taps.sum()).astype(np.float32)
    return weights


def grow(levels: Array, pixels: int) -> Array:
    """The mask uint8 [height, width] grown by a disc of radius `pixels`, or shrunk where that is negative.

    Beyond the picture nothing is masked when growing, and everything when shrinking: its edges stay as they are.
    """
    if pixels < 0:
        shrunk: Array = 255 - grow(255 - levels, -pixels)
        return shrunk
    grown, spread, half = levels.copy(), levels.copy(), 0
    height = len(levels)
    # The disc's rows from its poles, which are one pixel, to its equator: each is at least as wide as the last.
    for dy in range(pixels, -1, -1):
        while (half + 1) ** 2 + dy**2 <= pixels**2:
            spread, half = _widened(spread), half + 1
        if dy < height:
            np.maximum(grown[dy:], spread[: height - dy], out=grown[dy:])
            np.maximum(grown[: height - dy], spread[dy:], out=grown[: height - dy])
    return grown


def region(levels: Array, padding: int = 0, size: tuple[int, int] | None = None) -> Window | None:
    """The rectangle around what a mask uint8 [height, width] repaints; None where that is nothing.

    It has `padding` pixels around it where the picture has them, and with the model's `size` (width, height) is
    expanded to that aspect as far as the picture goes: "only masked" of A1111 (get_crop_region_v2 and
    expand_crop_region) and `padding_mask_crop` of diffusers (`VaeImageProcessor.get_crop_region`), which agree.
    """
    masked: list[Array] = [np.any(levels, axis=axis) for axis in (1, 0)]
    rows, columns = (np.flatnonzero(line) for line in masked)
    if not rows.size:
        return None
    top, left = int(rows[0]), int(columns[0])
    return around(Window(top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left), levels.shape, padding, size)


def around(window: Window, area: tuple[int, ...], padding: int = 0, size: tuple[int, int] | None = None) -> Window:
    """The window with `padding` around it and of the aspect of `size`, as far as the `area` [height, width] goes."""
    top, bottom = max(window.top - padding, 0), min(window.top + window.height + padding, area[0])
    left, right = max(window.left - padding, 0), min(window.left + window.width + padding, area[1])
    if size is not None:
        aspect = size[0] / size[1]
        # Truncated as the peers do, so that a rectangle can be a pixel short of the aspect.
        if (right - left) / (bottom - top) > aspect:
            more = int((right - left) / aspect - (bottom - top))
            top, bottom = _expanded(top, bottom, more, area[0])
        else:
            more = int((bottom - top) * aspect - (right - left))
            left, right = _expanded(left, right, more, area[1])
    return Window(top, left, bottom - top, right - left)


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
        wider = _widened(_widened(reached).T).T & painted
        if np.array_equal(wider, reached):
            free: Array = strong | (painted & ~reached)
            return free
        reached = wider


def _blur_rows(levels: Array, sigma: float) -> Array:
    reach = blur_reach(sigma)
    if not reach:
        return levels.copy()
    height, width = levels.shape
    blurred = np.empty((height, width), np.uint8)
    for rows in strips(height, width + 2 * reach):
        padded = np.pad(levels[rows].astype(np.float32), ((0, 0), (reach, reach)), "reflect")
        total = sum(weight * padded[:, shift : shift + width] for shift, weight in enumerate(kernel(sigma)))
        blurred[rows] = np.rint(total)
    return blurred


def _widened(levels: Array) -> Array:
    wide = levels.copy()
    np.maximum(wide[:, 1:], levels[:, :-1], out=wide[:, 1:])
    np.maximum(wide[:, :-1], levels[:, 1:], out=wide[:, :-1])
    return wide


def _expanded(start: int, stop: int, more: int, length: int) -> tuple[int, int]:
    """`more` pixels around a span, moved to where the length has them; at most the length."""
    start, stop = start - more // 2, stop + more - more // 2
    start -= max(stop - length, 0)
    stop = min(stop, length)
    return max(start, 0), min(stop + max(-start, 0), length)
