"""How a picture is enlarged and repainted in tiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...imaging.limits import MAX_SIDE
from ..option import Choices, Option

_option: Callable[..., Option] = partial(Option, tools=("upscale",))
_length = partial(_option, least=0, most=MAX_SIDE, metavar="PX")

UPSCALING = (
    _option("scale", "number", "start", "how many times, 1 to 16", default=2.0, least=1, most=16, metavar="N"),
    _option(
        "method",
        "name",
        "start",
        "joint: all windows at every step, joined in latents; tiles: one after the other",
        default="joint",
        choices=("joint", "tiles"),
        noun="upscaling method",
        metavar="NAME",
    ),
    _length("tile", "whole", "start", "side of a tile in the result", usual="the model's usual", least=1),
    _length("overlap", "whole", "start", "what joint windows share", usual="a quarter of a tile"),
    _length("padding", "whole", "start", "seen around a tile", usual="a 16th of it, 2 latents"),
    _length("mask_blur", "number", "picture", "blur of a tile's edge", usual="a 64th of it, a latent", most=256),
    _option(
        "order",
        "name",
        "start",
        "of tiles: linear or chess",
        default="linear",
        choices=Choices("imaging.tile_passes", "ORDERS"),
        noun="tile order",
        metavar="NAME",
    ),
    _option(
        "batch",
        "whole",
        "run",
        "tiles that run together",
        usual="as many as a call takes",
        least=1,
        most=MAX_SIDE,
        metavar="N",
    ),
    _option(
        "colour_match",
        "name",
        "picture",
        "to the enlarged picture: tile (each tile by itself), wavelet, histogram, mean or none",
        usual="tile, or none",
        choices=Choices("imaging.match", "METHODS", ("none", "tile")),
        noun="colour match",
        metavar="HOW",
    ),
    _option(
        "seam_fix",
        "name",
        "picture",
        "after tiles: none, bands, half_tile or half_tile_intersections",
        default="none",
        choices=Choices("imaging.tile_passes", "SEAM_FIXES"),
        noun="seam fix",
        metavar="HOW",
    ),
    _option(
        "seam_fix_strength",
        "number",
        "picture",
        "of seam fixes and repairs",
        usual="the tiles'",
        least=0,
        most=1,
        metavar="S",
    ),
    _length("seam_fix_width", "whole", "picture", "of bands", usual="an 8th of a tile", least=2),
    _length("seam_fix_padding", "whole", "picture", "what is seen around", usual="a 16th of a tile"),
    _length("seam_fix_blur", "number", "picture", "blur of their masks", usual="a 128th of a tile", most=256),
    _option(
        "seam_limit",
        "number",
        "picture",
        "seams above it are repaired; 1 does not show",
        default=2.0,
        least=0,
        metavar="SCORE",
    ),
    _option(
        "repair",
        "flag",
        "picture",
        "repair seams above the limit",
        default=True,
        usual="yes; not of tiles under a1111",
    ),
)
