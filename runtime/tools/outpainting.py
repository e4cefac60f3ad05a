"""By how much a picture grows, and in which rounds and areas: outpainting's options, and their geometry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import InputError
from ..imaging.fill import Margins
from ..imaging.tiles import Window, windows
from ..requests import checks
from ..requests.options import default, fields_of
from .patch import Size


@dataclass(frozen=True)
class Outpainting:
    """By how many pixels a picture grows on each side, and how.

    What the model begins with is made by `fill`, of `imaging.fill.pad`: "edge", "reflect", "noise" of the picture's
    structure, or `colour`. `overlap` pixels of the picture along its old edges may be repainted too, fading inwards; 0
    leaves every one of its pixels exact. `feather` pixels of the new fade out of what the model made of the old beside
    them, so that no edge shows. With strength 1 little but the border knows the fill. `latent_mask`, `ring` and
    `ring_field` are inpainting's.
    """

    left: int = default("left", "outpainting")
    top: int = default("top", "outpainting")
    right: int = default("right", "outpainting")
    bottom: int = default("bottom", "outpainting")
    fill: str = default("fill", "outpainting")
    colour: tuple[int, int, int] = default("colour", "outpainting")
    overlap: int = default("overlap", "outpainting")
    feather: int = default("feather", "outpainting")
    latent_mask: str = default("latent_mask", "outpainting")
    ring: int = default("ring", "outpainting")
    ring_field: str = default("ring_field", "outpainting")

    def __post_init__(self) -> None:
        """Raise `InputError` for the first field that cannot be used."""
        checks.check(self, fields_of("outpainting"))
        if not any((self.left, self.top, self.right, self.bottom)):
            raise InputError("the picture is to grow by 0 pixels; give left, top, right or bottom", "left")

    @property
    def margins(self) -> Margins:
        """The growth."""
        return Margins(self.left, self.top, self.right, self.bottom)


@dataclass(frozen=True)
class Round:
    """A picture grows by `margins` at once; the `areas` of what it has become are then painted in their order."""

    margins: Margins
    areas: tuple[Window, ...]


def rounds(size: Size, margins: Margins, model: Size) -> list[Round]:
    """How a picture of (width, height) grows by margins with a model that works at a size of (width, height).

    At once where all of it fits into the model's size. Else in bands of at most half of that, the sides first: each is
    painted in areas of the model's size, of which a quarter overlaps the last, so that all have something to go on.
    """
    width, height = enlarged(size, margins)
    if width <= model[0] and height <= model[1]:
        return [Round(margins, (Window(0, 0, height, width),))]
    made: list[Round] = []
    for side, most in zip(("left", "right", "top", "bottom"), (model[0], model[0], model[1], model[1]), strict=True):
        left = getattr(margins, side)
        while left:
            band = Margins(**{side: min(left, max(most // 2, 1))})
            left, size = left - getattr(band, side), enlarged(size, band)
            made.append(Round(band, tuple(_areas(size, side, model))))
    return made


def enlarged(size: Size, margins: Margins) -> Size:
    """The size (width, height) of a picture that has grown."""
    return size[0] + margins.left + margins.right, size[1] + margins.top + margins.bottom


def _areas(size: Size, side: str, model: Size) -> Iterator[Window]:
    """Windows of at most the model's size along one side of a picture of (width, height)."""
    width, height = min(model[0], size[0]), min(model[1], size[1])
    if side in ("left", "right"):
        for along in windows(size[1], 1, height, height // 4):
            yield Window(along.top, 0 if side == "left" else size[0] - width, height, width)
    else:
        for along in windows(1, size[0], width, width // 4):
            yield Window(0 if side == "top" else size[1] - height, along.left, height, width)
