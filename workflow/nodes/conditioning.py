"""Nodes of prompts, and of where and when they count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...bundles.tensor import Array
from ...engines.arrays import namespace_of
from ...runtime.conditioning.conditioning import POOLED, TEXT
from ..context import Context
from ..node import node, outputs
from ..sockets import choice, decimal, integer, link, text
from ..values import Conditioned, Entry, Texts

CONDITIONING = link("CONDITIONING")
GIVES = outputs("CONDITIONING")


@node(
    "CLIPTextEncode",
    needed={"text": text(multiline=True, dynamicPrompts=True), "clip": link("CLIP")},
    outputs=GIVES,
    display="CLIP Text Encode (Prompt)",
    category="conditioning",
)
def clip_text_encode(context: Context, text: str, clip: Texts) -> Conditioned:
    """A prompt, with ComfyUI's weights in parentheses."""
    made = clip.model.encode_prompt(
        text, clip_skip=clip.clip_skip, weighting="comfy", syntax="comfy-exact", loras=clip.loras
    )
    return (Entry(made),)


@node(
    "CLIPSetLastLayer",
    needed={"clip": link("CLIP"), "stop_at_clip_layer": integer(-1, -24, -1)},
    outputs=outputs("CLIP"),
    display="CLIP Set Last Layer",
    category="conditioning",
)
def clip_set_last_layer(context: Context, clip: Texts, stop_at_clip_layer: int) -> Texts:
    """The text encoder without its last layers: -1 has all, -2 all but one."""
    return replace(clip, clip_skip=-stop_at_clip_layer - 1)


@node(
    "ConditioningCombine",
    needed={"conditioning_1": CONDITIONING, "conditioning_2": CONDITIONING},
    outputs=GIVES,
    display="Conditioning (Combine)",
    category="conditioning",
)
def combine(context: Context, conditioning_1: Conditioned, conditioning_2: Conditioned) -> Conditioned:
    """Both count: the model's predictions are averaged."""
    return conditioning_1 + conditioning_2


@node(
    "ConditioningAverage",
    needed={
        "conditioning_to": CONDITIONING,
        "conditioning_from": CONDITIONING,
        "conditioning_to_strength": decimal(1.0, 0.0, 1.0, 0.01),
    },
    outputs=GIVES,
    category="conditioning",
)
def average(
    context: Context, conditioning_to: Conditioned, conditioning_from: Conditioned, conditioning_to_strength: float
) -> Conditioned:
    """The prompts' encodings mixed; of the second the first entry alone counts."""
    share, other = conditioning_to_strength, conditioning_from[0].inputs

    def mixed(entry: Entry) -> Entry:
        states = entry.inputs[TEXT]
        inputs = {**entry.inputs, TEXT: states * share + _like(other[TEXT], states) * (1 - share)}
        if POOLED in inputs and POOLED in other:
            inputs[POOLED] = inputs[POOLED] * share + other[POOLED] * (1 - share)
        return replace(entry, inputs=inputs)

    return tuple(map(mixed, conditioning_to))


def _like(states: Array, other: Array) -> Array:
    """Hidden states cut, or followed by zeros, to as many tokens as others have."""
    missing = len(other) - len(states)
    if missing <= 0:
        return states[: len(other)]
    xp = namespace_of(states)
    joined: Array = xp.concatenate([states, xp.zeros((missing, states.shape[1]), states.dtype)])
    return joined


@node(
    "ConditioningConcat",
    needed={"conditioning_to": CONDITIONING, "conditioning_from": CONDITIONING},
    outputs=GIVES,
    display="Conditioning (Concat)",
    category="conditioning",
)
def concat(context: Context, conditioning_to: Conditioned, conditioning_from: Conditioned) -> Conditioned:
    """The second prompt's tokens after the first's; of the second the first entry alone counts."""
    more = conditioning_from[0].inputs[TEXT]

    def longer(entry: Entry) -> Entry:
        states = entry.inputs[TEXT]
        joined = namespace_of(states).concatenate([states, more])
        return replace(entry, inputs={**entry.inputs, TEXT: joined})

    return tuple(map(longer, conditioning_to))


def _all(conditioning: Conditioned, **changes: Any) -> Conditioned:
    return tuple(replace(entry, **changes) for entry in conditioning)


@node(
    "ConditioningSetArea",
    needed={
        "conditioning": CONDITIONING,
        "width": integer(64, 64, 16384, 8),
        "height": integer(64, 64, 16384, 8),
        "x": integer(0, 0, 16384, 8),
        "y": integer(0, 0, 16384, 8),
        "strength": decimal(1.0, 0.0, 10.0),
    },
    outputs=GIVES,
    display="Conditioning (Set Area)",
    category="conditioning",
)
def set_area(
    context: Context, conditioning: Conditioned, width: int, height: int, x: int, y: int, strength: float
) -> Conditioned:
    """It counts in a rectangle, in pixels; the model sees that part alone."""
    return _all(conditioning, area=(height, width, y, x), relative=False, strength=strength)


@node(
    "ConditioningSetAreaPercentage",
    needed={
        "conditioning": CONDITIONING,
        "width": decimal(1.0, 0.0, 1.0),
        "height": decimal(1.0, 0.0, 1.0),
        "x": decimal(0.0, 0.0, 1.0),
        "y": decimal(0.0, 0.0, 1.0),
        "strength": decimal(1.0, 0.0, 10.0),
    },
    outputs=GIVES,
    display="Conditioning (Set Area with Percentage)",
    category="conditioning",
)
def set_area_percentage(
    context: Context, conditioning: Conditioned, width: float, height: float, x: float, y: float, strength: float
) -> Conditioned:
    """It counts in a rectangle, in shares of the picture."""
    return _all(conditioning, area=(height, width, y, x), relative=True, strength=strength)


@node(
    "ConditioningSetAreaStrength",
    needed={"conditioning": CONDITIONING, "strength": decimal(1.0, 0.0, 10.0)},
    outputs=GIVES,
    category="conditioning",
)
def set_area_strength(context: Context, conditioning: Conditioned, strength: float) -> Conditioned:
    """How much it counts beside others."""
    return _all(conditioning, strength=strength)


@node(
    "ConditioningSetMask",
    needed={
        "conditioning": CONDITIONING,
        "mask": link("MASK"),
        "strength": decimal(1.0, 0.0, 10.0),
        "set_cond_area": choice(("default", "mask bounds")),
    },
    outputs=GIVES,
    display="Conditioning (Set Mask)",
    category="conditioning",
)
def set_mask(
    context: Context, conditioning: Conditioned, mask: Array, strength: float, set_cond_area: str
) -> Conditioned:
    """It counts where a mask says; with its bounds the model sees the mask's box alone."""
    return _all(conditioning, mask=mask, mask_strength=strength, mask_bounds=set_cond_area != "default")


@node(
    "ConditioningSetTimestepRange",
    needed={
        "conditioning": CONDITIONING,
        "start": decimal(0.0, 0.0, 1.0, 0.001),
        "end": decimal(1.0, 0.0, 1.0, 0.001),
    },
    outputs=GIVES,
    category="advanced/conditioning",
)
def set_timestep_range(context: Context, conditioning: Conditioned, start: float, end: float) -> Conditioned:
    """It counts in a part of the sampling: 0 is all noise, 1 none."""
    return _all(conditioning, start=start, end=end)


@node(
    "ConditioningZeroOut",
    needed={"conditioning": CONDITIONING},
    outputs=GIVES,
    category="advanced/conditioning",
)
def zero_out(context: Context, conditioning: Conditioned) -> Conditioned:
    """All its inputs are zeros."""
    return tuple(
        replace(entry, inputs={name: array * 0 for name, array in entry.inputs.items()}) for entry in conditioning
    )
