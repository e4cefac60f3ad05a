"""A checkpoint kept as one .safetensors file under the names of the original (CompVis, Stability) code.

The architecture is read off the tensors' shapes, so nothing is looked up on the network. What the model predicts, which
shapes cannot tell, is read off markers (`predicts.py`); where a file of 2.x has none, it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from transformers import CLIPTextConfig, CLIPTextModel

from ...errors import InputError
from ..components import Config
from . import clip, predicts
from .checkpoint import Checkpoint, State, read_tensors
from .clip import Clip

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP = "cond_stage_model.transformer."
OPEN_CLIP = "cond_stage_model.model."

LAYERS = 23  # of the 24 of OpenCLIP's ViT-H: 2.x conditions on the last but one, and some files leave the last out
HEAD = 64  # the width of an attention head in both text encoders, and in the U-Net of 2.x; that of 1.x has 8 heads


def open_single_file(
    path: Path, tokenizer: Path | None, prediction_type: str | None, zero_snr: bool | None = None
) -> Checkpoint:
    """Open a file of Stable Diffusion 1.x (CLIP text encoder, 768 wide) or 2.x (OpenCLIP, 1024 wide).

    `prediction_type` and `zero_snr` None are what the file says, see `predicts.read`; a file of 1.x that says nothing
    predicts epsilon. Raises `InputError` where the file is of another kind, or one of the arguments is needed and
    missing.
    """
    state = read_tensors([path])
    second = any(name.startswith(OPEN_CLIP) for name in state)
    if not all(any(name.startswith(part) for name in state) for part in (UNET, VAE, OPEN_CLIP if second else CLIP)):
        raise InputError(
            f"{path}: does not hold a text encoder, a U-Net and a VAE of Stable Diffusion 1.x or 2.x under their "
            "original names; name a whole checkpoint of this family, or a diffusers folder"
        )
    if any(name.startswith(f"{UNET}label_emb.") for name in state):
        raise InputError(f"{path}: its U-Net takes class labels or sizes; only Stable Diffusion 1.x and 2.x do not")
    says = predicts.read(path, state, prediction_type, zero_snr)
    if second and says.type is None:
        raise InputError(
            f"{path}: weights of 2.x do not tell what they predict; say --prediction-type v_prediction for 2.x at "
            "768 px, or epsilon for a base model at 512 px"
        )
    prediction = says.type or "epsilon"
    try:
        configs = {
            "text_encoder": _open_clip_config(state) if second else _clip_config(state),
            "unet": _unet_config(state, second, 96 if second and prediction == "v_prediction" else 64),
            "vae": _vae_config(state),
            "scheduler": {**_scheduler_config(prediction), **(predicts.ZERO_SNR if says.zero_snr else {})},
        }
    except (KeyError, IndexError, ValueError) as exc:
        raise InputError(f"{path}: is not laid out as Stable Diffusion 1.x or 2.x ({exc}); name another file") from exc
    words = configs["text_encoder"]["vocab_size"]
    if tokenizer is None and words != clip.SIZE:
        raise InputError(
            f"{path}: its text encoder has {words} tokens, CLIP's vocabulary {clip.SIZE}, and a single file holds no "
            "tokenizer; name the folder of its own with --tokenizer"
        )
    origin = {"checkpoint": path.name, "format": f"single file, {'2.x' if second else '1.x'}"}
    if says.source:
        origin["prediction"] = f"{prediction}{', zero terminal SNR' if says.zero_snr else ''} ({says.source})"
    used = {name: tensor for name, tensor in state.items() if _is_used(name, second)}
    surplus = tuple(sorted(state.keys() - used.keys() - set(predicts.MARKERS)))
    own = Clip("!") if second else Clip()
    return Checkpoint(configs, tokenizer or own, lambda part: _convert(used, part, configs), origin, surplus)


def _is_used(name: str, second: bool) -> bool:
    """Whether a part may need a tensor: not the averages of training, its losses, and what 2.x leaves out of its text
    encoder."""
    if name.startswith(VAE):
        return name.removeprefix(VAE).partition(".")[0] in ("encoder", "decoder", "quant_conv", "post_quant_conv")
    if second and name.startswith(OPEN_CLIP):
        own = name.removeprefix(OPEN_CLIP)
        needed = own.startswith(("token_embedding.", "positional_embedding", "ln_final.", "transformer."))
        return needed and not own.startswith(f"transformer.resblocks.{LAYERS}.")
    return name.startswith((UNET, CLIP))


def _convert(state: State, part: str, configs: dict[str, Config]) -> State:
    """A part's weights under diffusers' names; raises as `load` where they do not fit."""
    if part == "unet":
        return dict(convert_ldm_unet_checkpoint(state, configs["unet"]))
    if part == "vae":
        return dict(convert_ldm_vae_checkpoint(state, configs["vae"]))
    if any(name.startswith(CLIP) for name in state):
        return dict(convert_ldm_clip_checkpoint(state))
    config = CLIPTextConfig.from_dict(dict(configs["text_encoder"]))
    with torch.device("meta"):
        shape = CLIPTextModel(config)
    return dict(convert_open_clip_checkpoint(shape, state, prefix=OPEN_CLIP))


def _unet_config(state: State, second: bool, sample_size: int) -> Config:
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
        "attention_head_dim": [count // HEAD for count in channels] if second else 8,
        "use_linear_projection": state[f"{block}proj_in.weight"].ndim == 2,
    }


def _vae_config(state: State) -> Config:
    levels = _numbers(state, rf"{re.escape(VAE)}encoder\.down\.(\d+)\.")
    return {
        "_class_name": "AutoencoderKL",
        "block_out_channels": [len(state[f"{VAE}encoder.down.{level}.block.0.conv1.weight"]) for level in levels],
        "layers_per_block": len(_numbers(state, rf"{re.escape(VAE)}encoder\.down\.0\.block\.(\d+)\.")),
        "latent_channels": len(state[f"{VAE}quant_conv.weight"]) // 2,
        "down_block_types": ["DownEncoderBlock2D"] * len(levels),
        "up_block_types": ["UpDecoderBlock2D"] * len(levels),
        "scaling_factor": 0.18215,
    }


def _clip_config(state: State) -> Config:
    text = CLIP + ("text_model." if f"{CLIP}text_model.final_layer_norm.weight" in state else "")
    layers = _numbers(state, rf"{re.escape(text)}encoder\.layers\.(\d+)\.")
    return _text_config(
        state[f"{text}embeddings.token_embedding.weight"],
        state[f"{text}embeddings.position_embedding.weight"],
        state[f"{text}encoder.layers.0.mlp.fc1.weight"],
        num_hidden_layers=len(layers),
        hidden_act="quick_gelu",
    )


def _open_clip_config(state: State) -> Config:
    layers = _numbers(state, rf"{re.escape(OPEN_CLIP)}transformer\.resblocks\.(\d+)\.")
    return _text_config(
        state[f"{OPEN_CLIP}token_embedding.weight"],
        state[f"{OPEN_CLIP}positional_embedding"],
        state[f"{OPEN_CLIP}transformer.resblocks.0.mlp.c_fc.weight"],
        num_hidden_layers=min(len(layers), LAYERS),
        hidden_act="gelu",
    )


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


def _scheduler_config(prediction: str) -> Config:
    return {
        "_class_name": "DDIMScheduler" if prediction == "v_prediction" else "PNDMScheduler",
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
