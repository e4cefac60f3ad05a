"""Between a picture's size and the sizes a model takes, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral
from typing import Literal

import numpy as np
from PIL import Image

from ...bundles.tensor import Array
from ...errors import InputError, unknown
from .picture import Picture, check_size

MODES = ("stretch", "crop", "pad", "none")

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Placement:
    """How to get back from the model's pixels: the output's (width, height), and its alpha, uint8 [height, width]."""

    size: Size
    alpha: Array | None = None


def fit(picture: Picture, size: Size | None, mode: str, multiple: int) -> tuple[Picture, Placement]:
    """Bring a picture to a size the model takes, both sides multiples of `multiple`.

    The output's `size` (width, height) is the picture's own where it is None. To get there, "stretch" scales both
    sides, "crop" scales to cover and cuts what overhangs, "pad" scales to fit inside and repeats the edges outwards;
    "none" leaves the picture as it is. What is missing to a multiple is mirrored on the right and at the bottom, and
    `restore` cuts it off again. Scaling is Lanczos, on premultiplied colours where there is alpha.

    Raises `InputError` for an unknown mode, sizes that `check_size` refuses, and "none" with another size.
    """
    if mode not in MODES:
        raise unknown("resize mode", mode, MODES)
    size = picture.size if size is None else _checked(size)
    check_size(picture.size, multiple)
    check_size(size, multiple, "the output's size")
    if mode == "none" and size != picture.size:
        raise InputError(
            f"resize mode 'none' keeps {picture.size[0]}x{picture.size[1]}; leave out the size or choose 'crop', 'pad' "
            "or 'stretch'"
        )
    placed = picture if size == picture.size else _RESIZERS[mode](picture, size)
    return _extend(placed, multiple), Placement(size, placed.alpha)


def restore(pixels: Array, placement: Placement) -> Image.Image:
    """The model's pixels, uint8 [height, width, 3], as the output: RGB, or RGBA where the picture had alpha."""
    width, height = placement.size
    return Picture(np.ascontiguousarray(pixels[:height, :width]), placement.alpha).image


def _checked(size: Size) -> Size:
    if len(size) != 2 or any(isinstance(length, bool) or not isinstance(length, Integral) for length in size):
        raise InputError(f"a size is (width, height) in whole pixels, not {size!r}")
    return size


def _stretch(picture: Picture, size: Size) -> Picture:
    return _scale(picture, size, (0, 0, *picture.size))


def _crop(picture: Picture, size: Size) -> Picture:
    (width, height), scale = picture.size, max(_ratios(picture.size, size))
    left, top = (width - size[0] / scale) / 2, (height - size[1] / scale) / 2
    return _scale(picture, size, (max(left, 0), max(top, 0), min(width - left, width), min(height - top, height)))


def _pad(picture: Picture, size: Size) -> Picture:
    scale = min(_ratios(picture.size, size))
    inner = (
        min(max(round(picture.size[0] * scale), 1), size[0]),
        min(max(round(picture.size[1] * scale), 1), size[1]),
    )
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    margins = ((top, size[1] - inner[1] - top), (left, size[0] - inner[0] - left))
    return _widen(_stretch(picture, inner), margins, "edge")


_RESIZERS = {"stretch": _stretch, "crop": _crop, "pad": _pad}


def _ratios(old: Size, new: Size) -> tuple[float, float]:
    return new[0] / old[0], new[1] / old[1]


def _scale(picture: Picture, size: Size, box: tuple[float, float, float, float]) -> Picture:
    scaled = np.asarray(picture.image.resize(size, Image.Resampling.LANCZOS, box=box))
    alpha = None if picture.alpha is None else scaled[..., 3].copy()
    return replace(picture, pixels=scaled[..., :3].copy(), alpha=alpha)


def _extend(picture: Picture, multiple: int) -> Picture:
    width, height = picture.size
    return _widen(picture, ((0, -height % multiple), (0, -width % multiple)), "symmetric")


def _widen(
    picture: Picture, margins: tuple[tuple[int, int], tuple[int, int]], mode: Literal["edge", "symmetric"]
) -> Picture:
    if not any(map(any, margins)):
        return picture
    alpha = None if picture.alpha is None else np.pad(picture.alpha, margins, mode)
    return replace(picture, pixels=np.pad(picture.pixels, (*margins, (0, 0)), mode), alpha=alpha)
