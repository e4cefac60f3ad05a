"""What a model of SDXL's family is given of the picture as numbers: its micro-conditioning."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...imaging.limits import MAX_SIDE
from ..option import Option

_score: Callable[..., Option] = partial(Option, least=0, most=10, metavar="SCORE")

MICRO = (
    Option(
        "original_size",
        "size",
        "rows",
        "the size that SDXL is to take the picture's original for",
        usual="the size that it works at",
        metavar="WxH",
    ),
    Option(
        "target_size",
        "size",
        "rows",
        "the size that SDXL is to take its result for",
        usual="the size that it works at",
        metavar="WxH",
    ),
    Option(
        "crop_left",
        "whole",
        "rows",
        "pixels that SDXL is to take for cut off on the left",
        default=0,
        least=0,
        most=MAX_SIDE,
        metavar="PX",
        elsewhere={"diffusers": ("crops_coords_top_left",)},
    ),
    Option(
        "crop_top",
        "whole",
        "rows",
        "pixels that SDXL is to take for cut off at the top",
        default=0,
        least=0,
        most=MAX_SIDE,
        metavar="PX",
    ),
    _score(
        "aesthetic_score",
        "number",
        "rows",
        "how good a refiner's picture shall be, 0 to 10",
        usual="6",
    ),
    _score(
        "negative_aesthetic_score",
        "number",
        "rows",
        "the same of what it shall not be",
        usual="2.5",
    ),
)
