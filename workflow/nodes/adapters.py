"""Nodes of LoRAs and ControlNets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...bundles.tensor import Array
from ...errors import InputError
from ...loras.weights import LoraUse
from ..bench import Workbench
from ..context import Context
from ..node import node, outputs
from ..sockets import Choice, choice, decimal, link
from ..values import Conditioned, Diffusion, Hint, Net, Texts

_STRENGTH = decimal(1.0, -100.0, 100.0)


def loras(bench: Workbench) -> list[str]:
    """The names of the LoRAs' files."""
    return bench.loras


def _state(bench: Workbench, lora_name: str, **others: Any) -> str:
    return bench.lora_state(lora_name)


def controlnets(bench: Workbench) -> list[str]:
    """The names of the ControlNets."""
    return bench.controlnets


_LORA = Choice("COMBO", names=loras, remedy="add its file with --lora PATH, or with Workbench(loading={'loras': PATH})")

_TYPES = (
    "auto", "openpose", "depth", "hed/pidi/scribble/ted", "canny/lineart/anime_lineart/mlsd", "normal", "segment",
    "tile", "repaint",
)  # fmt: skip


@node(
    "LoraLoader",
    needed={
        "model": link("MODEL"),
        "clip": link("CLIP"),
        "lora_name": _LORA,
        "strength_model": _STRENGTH,
        "strength_clip": _STRENGTH,
    },
    outputs=outputs("MODEL", "CLIP"),
    display="Load LoRA",
    category="loaders",
    changes=_state,
)
def lora_loader(
    context: Context, model: Diffusion, clip: Texts, lora_name: str, strength_model: float, strength_clip: float
) -> tuple[Diffusion, Texts]:
    """A LoRA for the denoiser and the text encoders, beside those that are there."""
    use = LoraUse(lora_name.removesuffix(".safetensors"), strength_clip, strength_model)
    return replace(model, loras=(*model.loras, use)), replace(clip, loras=(*clip.loras, use))


@node(
    "LoraLoaderModelOnly",
    needed={"model": link("MODEL"), "lora_name": _LORA, "strength_model": _STRENGTH},
    outputs=outputs("MODEL"),
    category="loaders",
    changes=_state,
)
def lora_loader_model_only(context: Context, model: Diffusion, lora_name: str, strength_model: float) -> Diffusion:
    """A LoRA for the denoiser alone."""
    use = LoraUse(lora_name.removesuffix(".safetensors"), 0.0, strength_model)
    return replace(model, loras=(*model.loras, use))


@node(
    "ControlNetLoader",
    needed={"control_net_name": choice(controlnets)},
    outputs=outputs("CONTROL_NET"),
    display="Load ControlNet Model",
    category="loaders",
)
def control_net_loader(context: Context, control_net_name: str) -> Net:
    """A ControlNet by its name."""
    return Net(context.bench.controlnet(control_net_name))


@node(
    "SetUnionControlNetType",
    needed={"control_net": link("CONTROL_NET"), "type": choice(_TYPES)},
    outputs=outputs("CONTROL_NET"),
    category="conditioning/controlnet",
)
def set_union_control_net_type(context: Context, control_net: Net, type: str) -> Net:
    """What a union of ControlNets is to take its hints for."""
    if type == "auto":
        raise InputError("the type of hints is not found by itself; choose what the picture is")
    return replace(control_net, kind=type.partition("/")[0])


def _hinted(conditioning: Conditioned, hint: Hint) -> Conditioned:
    return tuple(replace(entry, hints=(*entry.hints, hint)) for entry in conditioning)


@node(
    "ControlNetApply",
    needed={
        "conditioning": link("CONDITIONING"),
        "control_net": link("CONTROL_NET"),
        "image": link("IMAGE"),
        "strength": decimal(1.0, 0.0, 10.0),
    },
    outputs=outputs("CONDITIONING"),
    display="Apply ControlNet (OLD)",
    category="conditioning/controlnet",
    deprecated=True,
)
def control_net_apply(
    context: Context, conditioning: Conditioned, control_net: Net, image: Array, strength: float
) -> Conditioned:
    """The prompt follows a picture, and the negative one with it where it has no ControlNet of its own."""
    if not strength:
        return conditioning
    return _hinted(conditioning, Hint(control_net, image, strength, shared=True))


@node(
    "ControlNetApplyAdvanced",
    needed={
        "positive": link("CONDITIONING"),
        "negative": link("CONDITIONING"),
        "control_net": link("CONTROL_NET"),
        "image": link("IMAGE"),
        "strength": decimal(1.0, 0.0, 10.0),
        "start_percent": decimal(0.0, 0.0, 1.0, 0.001),
        "end_percent": decimal(1.0, 0.0, 1.0, 0.001),
    },
    optional={"vae": link("VAE")},
    outputs=outputs(("CONDITIONING", "positive"), ("CONDITIONING", "negative")),
    display="Apply ControlNet",
    category="conditioning/controlnet",
)
def control_net_apply_advanced(
    context: Context,
    positive: Conditioned,
    negative: Conditioned,
    control_net: Net,
    image: Array,
    strength: float,
    start_percent: float,
    end_percent: float,
    vae: object = None,
) -> tuple[Conditioned, Conditioned]:
    """Both prompts follow a picture in a part of the sampling."""
    if not strength:
        return positive, negative
    hint = Hint(control_net, image, strength, start_percent, end_percent)
    return _hinted(positive, hint), _hinted(negative, hint)
