"""Nodes of prompts for models of SDXL's family: a text for each encoder, and the picture's sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...bundles.tensor import Array
from ...engines.arrays import namespace_of
from ...errors import InputError
from ...runtime.conditioning.conditioning import TEXT
from ...runtime.requests.sections import Micro
from ..context import Context
from ..node import node, outputs
from ..sockets import decimal, integer, link, text
from ..values import Conditioned, Entry, Texts
from .conditioning import clip_text_encode

_SIDE, _CROP = integer(1024, 0, 16384), integer(0, 0, 16384)
_TEXT = text(multiline=True, dynamicPrompts=True)


@node(
    "CLIPTextEncodeSDXL",
    needed={
        "clip": link("CLIP"),
        "width": _SIDE,
        "height": _SIDE,
        "crop_w": _CROP,
        "crop_h": _CROP,
        "target_width": _SIDE,
        "target_height": _SIDE,
        "text_g": _TEXT,
        "text_l": _TEXT,
    },
    outputs=outputs("CONDITIONING"),
    category="advanced/conditioning",
)
def clip_text_encode_sdxl(
    context: Context,
    clip: Texts,
    width: int,
    height: int,
    crop_w: int,
    crop_h: int,
    target_width: int,
    target_height: int,
    text_g: str,
    text_l: str,
) -> Conditioned:
    """A text for each of SDXL's encoders, and the sizes that the picture is to look of."""
    sizes = Micro((width, height), (target_width, target_height), crop_w, crop_h)
    if text_g == text_l:
        return tuple(replace(entry, sizes=sizes) for entry in clip_text_encode.function(context, text_g, clip))
    return (Entry(_joined(context, clip, text_l, text_g), sizes=sizes),)


def _joined(context: Context, clip: Texts, first: str, last: str) -> Mapping[str, Array]:
    """What the first encoder makes of one text beside what the last makes of another, whose pooled text counts.

    The shorter is followed by chunks of an empty text (comfy_extras/nodes_clip_sdxl.py).
    """
    hidden = [each for each in clip.model.stages.prompts.encoders if each.facts.hidden is not None]
    if len(hidden) != 2:
        raise InputError(
            f"CLIPTextEncodeSDXL is for two text encoders, this model has {len(hidden)}; use CLIPTextEncode"
        )
    width = next(spec.axes[-1] for spec in hidden[0].engine.outputs if spec.name == hidden[0].facts.hidden)
    made = [dict(clip_text_encode.function(context, each, clip)[0].inputs) for each in (first, last, "")]
    length = max(len(each[TEXT]) for each in made)
    xp = namespace_of(made[0][TEXT])
    filled = []
    for each in made[:2]:
        missing = (length - len(each[TEXT])) // len(made[2][TEXT])
        filled.append(xp.concatenate([each[TEXT], *[made[2][TEXT]] * missing]))
    states = xp.concatenate([filled[0][:, :width], filled[1][:, width:]], axis=1)
    return {**made[1], TEXT: states}


@node(
    "CLIPTextEncodeSDXLRefiner",
    needed={
        "ascore": decimal(6.0, 0.0, 1000.0),
        "width": _SIDE,
        "height": _SIDE,
        "text": _TEXT,
        "clip": link("CLIP"),
    },
    outputs=outputs("CONDITIONING"),
    category="advanced/conditioning",
)
def clip_text_encode_sdxl_refiner(
    context: Context, ascore: float, width: int, height: int, text: str, clip: Texts
) -> Conditioned:
    """A prompt for SDXL's refiner, with the picture's size and the score that it is to look of."""
    sizes = Micro((width, height), aesthetic_score=ascore, negative_aesthetic_score=ascore)
    return tuple(replace(entry, sizes=sizes) for entry in clip_text_encode.function(context, text, clip))
