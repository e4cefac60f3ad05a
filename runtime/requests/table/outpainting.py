"""By how much a picture grows, and how the new is joined to the old."""

from __future__ import annotations

from dataclasses import replace

from ...imaging.limits import MAX_SIDE
from ..option import Affects, Choices, Option
from .inpainting import LATENT_MASK, RING, RING_FIELD

_HERE = ("outpaint",)


def _length(name: str, default: int, affects: Affects, help_: str) -> Option:
    return Option(
        name,
        "whole",
        affects,
        help_,
        default=default,
        least=0,
        most=MAX_SIDE,
        unit=" of pixels",
        tools=_HERE,
        metavar="PX",
    )


OUTPAINTING = (
    *(_length(side, 0, "start", "pixels of growth on that side") for side in ("left", "top", "right", "bottom")),
    Option(
        "fill",
        "name",
        "start",
        "what the new pixels begin as: edge, reflect, noise or colour",
        default="edge",
        choices=Choices("imaging.fill", "PADDINGS"),
        noun="padding",
        tools=_HERE,
        metavar="WHAT",
    ),
    Option(
        "colour",
        "colour",
        "start",
        "red, green and blue of the fill colour",
        default=(127, 127, 127),
        tools=_HERE,
        metavar="R,G,B",
    ),
    _length("overlap", 0, "start", "pixels of the picture that may be repainted too, fading"),
    _length("feather", 8, "picture", "pixels over which the new fades out of the old"),
    replace(LATENT_MASK, usual="", tools=_HERE),
    replace(RING, default=0, usual="", tools=_HERE),
    replace(RING_FIELD, tools=_HERE),
)
