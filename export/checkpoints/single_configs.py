"""The configurations of a single file's parts, read off the shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from ..components import Config
from .checkpoint import SECOND, State

UNET = "model.diffusion_model."
VAE = "first_stage_model."
LAYERS = 23  # of the 24 of OpenCLIP's ViT-H: 2.x conditions on the last but one, and some files leave the last out
HEAD = 64  # the width of an attention head in all text encoders, and in the U-Nets but for 1.x, which has 8 heads


@dataclass(frozen=True)
class Layout:
    """How a family's files are laid out: the prefixes of its text encoders by part, CLIP's under transformers' names or
    OpenCLIP's under its own."""

    name: str
    clip: str = ""
    open_clip: str = ""
    xl: bool = False

    @property
    def prefixes(self) -> dict[str, str]:
        """By part where its text encoder's tensors are."""
        second = {SECOND if self.xl else "text_encoder": self.open_clip} if self.open_clip else {}
        return {**({"text_encoder": self.clip} if self.clip else {}), **second}


LAYOUTS = (
    Layout("1.x", clip="cond_stage_model.transformer."),
    Layout("2.x", open_clip="cond_stage_model.model."),
    Layout("XL", "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model.", xl=True),
    Layout("XL refiner", open_clip="conditioner.embedders.0.model.", xl=True),
)
"""A1111, kohya and ComfyUI all write these names, which are those of Stability's own code."""


def unet_config(state: State, layout: Layout, sample_size: int) -> Config:
    """The U-Net's."""
    downs = _numbers(state, rf"{re.escape(UNET)}input_blocks\.(\d+)\.0\.op\.weight")
    layers = downs[0] - 1
    firsts = [1, *(index + 1 for index in downs)]
    channels = [len(state[f"{UNET}input_blocks.{index}.0.out_layers.3.weight"]) for index in firsts]
    attention = [f"{UNET}input_blocks.{index}.1.proj_in.weight" in state for index in firsts]
    block = f"{UNET}input_blocks.{firsts[attention.index(True)]}.1."
    return {
        "_class_name": "UNet2DConditionModel",
        "sample_size": sample_size,
        "in_channels": state[f"{UNET}input_blocks.0.0.weight"].shape[1],
        "out_channels": len(state[f"{UNET}out.2.weight"]),
        "block_out_channels": channels,
        "layers_per_block": layers,
        "down_block_types": ["CrossAttnDownBlock2D" if cross else "DownBlock2D" for cross in attention],
        "up_block_types": ["CrossAttnUpBlock2D" if cross else "UpBlock2D" for cross in reversed(attention)],
        "cross_attention_dim": state[f"{block}transformer_blocks.0.attn2.to_k.weight"].shape[1],
        "attention_head_dim": 8 if layout.name == "1.x" else [count // HEAD for count in channels],
        "use_linear_projection": state[f"{block}proj_in.weight"].ndim == 2,
        **(_xl_unet(state, firsts) if layout.xl else {}),
    }


def _xl_unet(state: State, firsts: list[int]) -> Config:
    """What a U-Net of XL has besides: numbers of blocks, of each level and of the middle, whose number diffusers takes
    from the last level; and the pooled text with the sizes."""
    depths = [_depth(state, f"input_blocks.{index}.1.") or 1 for index in firsts]
    middle = _depth(state, "middle_block.1.")
    if f"{UNET}input_blocks.{firsts[-1]}.1.proj_in.weight" not in state:
        depths[-1] = middle
    if depths[-1] != middle:
        raise ValueError(f"{middle} transformer blocks in the middle, {depths[-1]} before it")
    return {
        "transformer_layers_per_block": depths,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": state[f"{UNET}label_emb.0.0.weight"].shape[1],
    }


def _depth(state: State, place: str) -> int:
    return len(_numbers(state, rf"{re.escape(UNET + place)}transformer_blocks\.(\d+)\."))


def vae_config(state: State, xl: bool = False) -> Config:
    """The autoencoder's."""
    levels = _numbers(state, rf"{re.escape(VAE)}encoder\.down\.(\d+)\.")
    return {
        "_class_name": "AutoencoderKL",
        "block_out_channels": [len(state[f"{VAE}encoder.down.{level}.block.0.conv1.weight"]) for level in levels],
        "layers_per_block": len(_numbers(state, rf"{re.escape(VAE)}encoder\.down\.0\.block\.(\d+)\.")),
        "latent_channels": len(state[f"{VAE}quant_conv.weight"]) // 2,
        "down_block_types": ["DownEncoderBlock2D"] * len(levels),
        "up_block_types": ["UpDecoderBlock2D"] * len(levels),
        "scaling_factor": 0.13025 if xl else 0.18215,
    }


def clip_config(state: State, prefix: str) -> Config:
    """That of CLIP under transformers' names."""
    text = prefix + ("text_model." if f"{prefix}text_model.final_layer_norm.weight" in state else "")
    layers = _numbers(state, rf"{re.escape(text)}encoder\.layers\.(\d+)\.")
    return _text_config(
        state[f"{text}embeddings.token_embedding.weight"],
        state[f"{text}embeddings.position_embedding.weight"],
        state[f"{text}encoder.layers.0.mlp.fc1.weight"],
        num_hidden_layers=len(layers),
        hidden_act="quick_gelu",
    )


def open_clip_config(state: State, prefix: str, projects: bool) -> Config:
    """That of OpenCLIP; where it `projects` its pooled text all its layers count."""
    layers = _numbers(state, rf"{re.escape(prefix)}transformer\.resblocks\.(\d+)\.")
    return _text_config(
        state[f"{prefix}token_embedding.weight"],
        state[f"{prefix}positional_embedding"],
        state[f"{prefix}transformer.resblocks.0.mlp.c_fc.weight"],
        num_hidden_layers=len(layers) if projects else min(len(layers), LAYERS),
        **(_projection(state, prefix) if projects else {}),
        hidden_act="gelu",
    )


def _projection(state: State, prefix: str) -> Config:
    return {
        "architectures": ["CLIPTextModelWithProjection"],
        "projection_dim": state[f"{prefix}text_projection"].shape[1],
    }


def _text_config(tokens: torch.Tensor, positions: torch.Tensor, wide: torch.Tensor, **others: Any) -> Config:
    vocabulary, dim = tokens.shape
    return {
        "architectures": ["CLIPTextModel"],
        "vocab_size": vocabulary,
        "hidden_size": dim,
        "max_position_embeddings": len(positions),
        "intermediate_size": len(wide),
        "num_attention_heads": dim // HEAD,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
        **others,
    }


def scheduler_config(prediction: str, xl: bool = False) -> Config:
    """That of the schedule that the families were trained with."""
    return {
        **({"timestep_spacing": "leading"} if xl else {}),
        "_class_name": "EulerDiscreteScheduler"
        if xl
        else "DDIMScheduler"
        if prediction == "v_prediction"
        else "PNDMScheduler",
        "skip_prk_steps": True,
        "clip_sample": False,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": prediction,
    }


def _numbers(names: Iterable[str], pattern: str) -> list[int]:
    """The different numbers that `pattern` captures at the start of the names, in order."""
    return sorted({int(match[1]) for name in names if (match := re.match(pattern, name))})
