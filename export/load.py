"""Builds the parts of a checkpoint as float32 torch modules, one at a time; refuses architectures not covered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from ..engines.base import ExportError, InputError, unknown
from .checkpoint import Checkpoint, State, check_state
from .components import Config, is_tiny

# Attention layers of AutoencoderKL under the names that diffusers gave them before 0.15.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
PREDICTIONS = ("epsilon", "v_prediction", "sample")
UNUSED_UNET_FIELDS = ("class_embed_type", "addition_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim")

T = TypeVar("T", bound=nn.Module)


def check_supported(configs: Mapping[str, Config]) -> None:
    """Raise `InputError` where a part is of a kind that the exported graphs or the runtime do not cover."""
    unet, vae, text, scheduler = (configs[part] for part in ("unet", "vae", "text_encoder", "scheduler"))
    if "CLIPTextModel" not in text.get("architectures", ["CLIPTextModel"]):
        raise InputError(f"text encoder: is a {text['architectures'][0]}; only a CLIPTextModel can be exported")
    if unet.get("_class_name", "UNet2DConditionModel") != "UNet2DConditionModel":
        raise InputError(f"unet: is a {unet['_class_name']}; only a UNet2DConditionModel can be exported")
    if vae.get("_class_name", "AutoencoderKL") not in ("AutoencoderKL", "AutoencoderTiny"):
        raise InputError(f"vae: is an {vae['_class_name']}; only AutoencoderKL and AutoencoderTiny can be exported")
    if used := [field for field in UNUSED_UNET_FIELDS if unet.get(field) is not None]:
        raise InputError(f"unet: takes inputs that Stable Diffusion 1.x and 2.x do not have ({', '.join(used)})")
    if unet["in_channels"] != vae["latent_channels"]:
        raise InputError(
            f"unet: takes {unet['in_channels']} channels but the vae's latents have {vae['latent_channels']}; "
            "inpainting, depth and instruction models cannot be exported, use the base model"
        )
    if not unet.get("sample_size"):
        raise InputError("unet: config.json has no sample_size; add the latent size it was trained at (64 for 512 px)")
    if (prediction := scheduler.get("prediction_type", "epsilon")) not in PREDICTIONS:
        raise unknown("prediction type", str(prediction), PREDICTIONS)


def load_text_encoder(checkpoint: Checkpoint) -> CLIPTextModel:
    """The text encoder; its weights may carry transformers' older `text_model.` prefix or not."""
    model = CLIPTextModel(CLIPTextConfig.from_dict(dict(checkpoint.configs["text_encoder"])))
    prefix = "text_model." if hasattr(model, "text_model") else ""
    state = {
        prefix + name.removeprefix("text_model."): tensor
        for name, tensor in checkpoint.state("text_encoder").items()
        if not name.endswith("position_ids")
    }
    return _fill(model, state, "text_encoder")


def load_unet(checkpoint: Checkpoint) -> UNet2DConditionModel:
    """The denoiser.

    `num_upsamplers` is set beyond any picture's size: diffusers then takes every upsampled size from the skip
    connection that it meets, which gives the same numbers and keeps odd sizes right in a captured graph.
    """
    with torch.device("meta"):
        model = UNet2DConditionModel.from_config(checkpoint.configs["unet"])
    model.num_upsamplers = 40
    return _fill(model, checkpoint.state("unet"), "unet")


def load_vae(checkpoint: Checkpoint) -> AutoencoderKL | AutoencoderTiny:
    """The autoencoder."""
    config = checkpoint.configs["vae"]
    with torch.device("meta"):
        model = (AutoencoderTiny if is_tiny(config) else AutoencoderKL).from_config(config)
    old = re.compile(rf"\.({'|'.join(OLD_ATTENTION)})\.(weight|bias)$")
    state = {
        old.sub(lambda match: f".{OLD_ATTENTION[match[1]]}.{match[2]}", name): tensor
        for name, tensor in checkpoint.state("vae").items()
    }
    return _fill(model, state, "vae")


def round_to_half(module: nn.Module, name: str) -> None:
    """Round a module's weights to what float16 can hold, in place; raises `ExportError` where one is too large."""
    for key, parameter in module.named_parameters():
        rounded = parameter.data.half()
        if not torch.isfinite(rounded).all():
            raise ExportError(f"{name}: {key} is not finite in float16; export with weights float32")
        parameter.data = rounded.float()


def _fill(model: T, state: State, part: str) -> T:
    own = model.state_dict()
    check_state(part, sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys()))
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise ExportError(
                f"{part}: {name} has shape {list(tensor.shape)}, its config.json asks for {list(own[name].shape)}; "
                "take config and weights from the same checkpoint"
            )
    model.load_state_dict(state, assign=True)
    return model.float().eval().requires_grad_(False)
