"""Which size the result has, and what of it may change."""

from __future__ import annotations

from ...imaging.limits import MAX_SIDE
from ..option import PAINTING, Choices, Option

CANVAS = (
    Option(
        "size",
        "size",
        "start",
        "size of the results",
        usual="the input's",
        tools=("img2img",),
        metavar="WxH",
        elsewhere={"diffusers": ("width", "height")},
    ),
    Option(
        "size",
        "size",
        "start",
        "the most the model works at",
        usual="its own",
        tools=("inpaint", "outpaint"),
        metavar="WxH",
    ),
    Option(
        "resize_mode",
        "name",
        "start",
        "crop, pad, stretch or none",
        usual="crop with a size",
        choices=Choices("imaging.resize", "MODES"),
        noun="resize mode",
        tools=("img2img",),
        flags=("--resize",),
        metavar="MODE",
    ),
    Option(
        "window",
        "whole",
        "start",
        "have the model see overlapping windows of so many pixels a side; 0 is the whole",
        default=0,
        least=0,
        most=MAX_SIDE,
        tools=PAINTING,
    ),
    Option(
        "window_overlap",
        "whole",
        "start",
        "the least that windows share, in pixels",
        usual="a quarter",
        least=0,
        most=MAX_SIDE,
        tools=PAINTING,
    ),
    Option(
        "colour_match",
        "name",
        "picture",
        "give the result the input's colours: histogram, mean or wavelet",
        usual="none",
        choices=Choices("imaging.match", "METHODS"),
        noun="colour match",
        tools=PAINTING,
        metavar="HOW",
        axis="histogram,wavelet",
    ),
    Option(
        "depth",
        "object",
        "rows",
        "the picture's depth map, for models that take one",
        tools=("img2img",),
    ),
    Option("inpaint_mask", "object", "start", "which pixels may change, an `InpaintMask`", tools=("img2img",)),
    Option(
        "regions",
        "object",
        "rows",
        "parts of the picture with prompts of their own, each a `Region`",
        default=(),
        tools=("img2img", "inpaint"),
    ),
)
