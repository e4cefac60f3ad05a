"""Builds the parts of a checkpoint as float32 torch modules, one at a time; refuses architectures not covered."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from ...bundles.facts import conditionings
from ...errors import ExportError, InputError, unknown
from ..components import Config, is_tiny
from .checkpoint import SECOND, Checkpoint, State, check_state, summary

# Attention layers of AutoencoderKL under the names that diffusers gave them before 0.15.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_NAMES = re.compile(rf"\.({'|'.join(OLD_ATTENTION)})\.(weight|bias)$")
CLASSES = {
    "text_encoder": ("CLIPTextModel", "CLIPTextModelWithProjection", "CLIPModel"),
    SECOND: ("CLIPTextModelWithProjection",),
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
}
PREDICTIONS = ("epsilon", "v_prediction", "sample")
UNUSED_UNET_FIELDS = ("class_embed_type", "encoder_hid_dim_type")
# SDXL's: the pooled text and numbers of the picture's size.
TEXT_AND_SIZES = "text_time"

T = TypeVar("T", bound=nn.Module)


def supported(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with its configurations completed by their classes' defaults.

    Raises `InputError` where a part is of a kind that the exported graphs or the runtime do not cover.
    """
    _check_classes(checkpoint.configs)
    unet, vae, scheduler = (checkpoint.configs[part] for part in ("unet", "vae", "scheduler"))
    texts = {part: checkpoint.configs[part] for part in checkpoint.encoders}
    completed = {
        **{
            part: CLIPTextConfig.from_dict(dict(text.get("text_config") or text)).to_dict()
            for part, text in texts.items()
        },
        "unet": defaults(UNet2DConditionModel) | dict(unet),
        "vae": defaults(_vae_class(vae)) | {name: value for name, value in vae.items() if value is not None},
        "scheduler": scheduler,
    }
    _check_inputs(completed["unet"], completed["vae"], SECOND in texts)
    if (prediction := scheduler.get("prediction_type", "epsilon")) not in PREDICTIONS:
        raise unknown("prediction type", str(prediction), PREDICTIONS)
    return replace(checkpoint, configs=completed)


def _check_classes(configs: Mapping[str, Config]) -> None:
    for part, known in CLASSES.items():
        if part not in configs:
            continue
        named = (configs[part].get("architectures") or []) + [configs[part].get("_class_name")]
        kind = next(filter(None, named), known[0])
        if kind not in known:
            raise InputError(f"{part}: is of class {kind}; only {' and '.join(CLASSES[part])} can be exported")


def _check_inputs(unet: Config, vae: Config, second: bool) -> None:
    used = [field for field in UNUSED_UNET_FIELDS if unet[field] is not None]
    if unet["addition_embed_type"] not in (None, TEXT_AND_SIZES):
        used.append("addition_embed_type")
    if used:
        raise InputError(f"unet: takes inputs that Stable Diffusion 1.x, 2.x and XL do not have ({', '.join(used)})")
    if (unet["addition_embed_type"] == TEXT_AND_SIZES) != second:
        raise InputError(
            "unet: takes a pooled text exactly where the checkpoint has a text_encoder_2, which is not so here; take "
            "all parts from one checkpoint"
        )
    if strange := [field for field in ("latents_mean", "latents_std") if vae.get(field) is not None]:
        raise InputError(f"vae: scales its latents by channel ({' and '.join(strange)}), which is not supported")
    latents, channels = vae["latent_channels"], (unet["in_channels"], unet["out_channels"])
    if channels[0] - latents not in conditionings(latents) or channels[1] != latents:
        raise InputError(
            f"unet: takes {channels[0]} channels and gives {channels[1]}, the vae's latents have {latents}; base, "
            "inpainting and InstructPix2Pix models can be exported, depth and upscaling models cannot"
        )
    if not unet["sample_size"]:
        raise InputError("unet: config.json has no sample_size; add the latent size it was trained at (64 for 512 px)")


def defaults(kind: type) -> dict[str, Any]:
    """The arguments that a class of diffusers or transformers takes, where they have a default."""
    parameters = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc]
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def _text_class(part: str) -> Any:
    return CLIPTextModelWithProjection if part == SECOND else CLIPTextModel


def _vae_class(config: Config) -> Any:
    return AutoencoderTiny if is_tiny(config) else AutoencoderKL


def surplus(checkpoint: Checkpoint) -> str:
    """The tensors that the export leaves out, as text; raises `ExportError` where one that it needs does not fit."""
    unused = {"file": list(checkpoint.surplus)}
    for part in checkpoint.parts:
        own = _skeleton(checkpoint, part).state_dict()
        used, others = _matched(checkpoint.state(part), part, own)
        _check(part, used, own)
        # A buffer of older versions of transformers: the numbers 0, 1, 2 ...
        unused[part] = [name for name in others if not name.endswith("position_ids")]
    return "; ".join(f"{part}: {summary(names)}" for part, names in unused.items() if names)


def load_text_encoder(
    checkpoint: Checkpoint, part: str = "text_encoder", as_stored: bool = False
) -> CLIPTextModel | CLIPTextModelWithProjection:
    """A text encoder; its weights may carry transformers' older `text_model.` prefix or not.

    Those that are `as_stored` keep the file's precision, and are mapped from it rather than copied.
    """
    model = _skeleton(checkpoint, part)
    for name, module in model.named_modules():
        if name.endswith("embeddings"):  # the places of tokens, 0, 1, 2 ..., which no file has to hold
            module.position_ids = torch.arange(module.position_ids.shape[-1])[None]
    return _fill(model, checkpoint.state(part), part, as_stored)


def load_unet(checkpoint: Checkpoint, as_stored: bool = False) -> UNet2DConditionModel:
    """The denoiser, its weights `as_stored` as in `load_text_encoder`.

    `num_upsamplers` is set beyond any picture's size: diffusers then takes every upsampled size from the skip
    connection that it meets, which gives the same numbers and keeps odd sizes right in a captured graph.
    """
    model = _skeleton(checkpoint, "unet")
    model.num_upsamplers = 40
    return _fill(model, checkpoint.state("unet"), "unet", as_stored)


def load_vae(checkpoint: Checkpoint) -> AutoencoderKL | AutoencoderTiny:
    """The autoencoder."""
    return _fill(_skeleton(checkpoint, "vae"), checkpoint.state("vae"), "vae")


def round_to_half(module: nn.Module, name: str) -> None:
    """Round a module's weights to what float16 can hold, in place; raises `ExportError` where one is too large."""
    for key, parameter in module.named_parameters():
        rounded = parameter.data.half()
        if not torch.isfinite(rounded).all():
            raise ExportError(f"{name}: {key} is not finite in float16; export with weights float32")
        parameter.data = rounded.float()


def _skeleton(checkpoint: Checkpoint, part: str) -> Any:
    """A part as a module without weights, taking no memory."""
    config = dict(checkpoint.configs[part])
    try:
        with torch.device("meta"):
            if part in checkpoint.encoders:
                return _text_class(part)(CLIPTextConfig.from_dict(config))
            return (UNet2DConditionModel if part == "unet" else _vae_class(config)).from_config(config)
    except (TypeError, ValueError) as exc:
        raise ExportError(f"{part}: diffusers cannot build it from its config.json ({exc}); correct that file") from exc


def _fill(model: T, state: State, part: str, as_stored: bool = False) -> T:
    own = model.state_dict()
    used, _ = _matched(state, part, own)
    _check(part, used, own)
    model.load_state_dict(used, assign=True)
    return (model if as_stored else model.float()).eval().requires_grad_(False)


def _matched(state: State, part: str, own: State) -> tuple[State, list[str]]:
    """The tensors of `state` that a module of the tensors `own` has, by its names for them, and the others' names."""
    used: State = {}
    others = []
    for name, tensor in state.items():
        key = _own_name(name, part, own)
        if key in own:
            used[key] = tensor
        else:
            others.append(name)
    return used, others


def _check(part: str, used: State, own: State) -> None:
    check_state(part, sorted(own.keys() - used.keys()), [])
    for name, tensor in used.items():
        if tensor.shape != own[name].shape:
            raise ExportError(
                f"{part}: {name} has shape {list(tensor.shape)}, its config.json asks for {list(own[name].shape)}; "
                "take config and weights from the same checkpoint"
            )


def _own_name(name: str, part: str, own: State) -> str:
    if part == "vae":
        return OLD_NAMES.sub(lambda match: f".{OLD_ATTENTION[match[1]]}.{match[2]}", name)
    if part == "text_encoder":  # transformers had the prefix until 5.6
        prefix = "text_model." if next(iter(own)).startswith("text_model.") else ""
        return prefix + name.removeprefix("text_model.")
    if part == SECOND and not name.startswith(("text_model.", "text_projection.")):
        return f"text_model.{name}"
    return name
