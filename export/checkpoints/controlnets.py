"""A ControlNet's configuration and weights under diffusers' names, wherever they are kept; what is none is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

from ...errors import ExportError, InputError
from ..components import Config
from .checkpoint import PICKLES, State, check_state, read_config, read_tensors, refuse_pickle, weight_files
from .load import defaults

CLASSES: dict[str, Any] = {each.__name__: each for each in (ControlNetModel, ControlNetUnionModel)}
STEM, EMBED = "diffusion_pytorch_model", "controlnet_cond_embedding."
HEAD = 64
"""The width of an attention head, but for 1.x, which has 8 heads."""
TAKE = "take a ControlNet of the same condition, whole, for Stable Diffusion 1.x, 2.x or XL"

# What is no ControlNet, by the class in its config.json, and by how a tensor of it is called.
OTHER_CLASSES = {
    "ControlNetXSAdapter": "a ControlNet-XS, which runs inside the denoiser's own blocks",
    "UNetControlNetXSModel": "a ControlNet-XS, which runs inside the denoiser's own blocks",
    "FluxControlNetModel": "a ControlNet for FLUX",
    "HunyuanDiT2DControlNetModel": "a ControlNet for HunyuanDiT",
    "QwenImageControlNetModel": "a ControlNet for Qwen-Image",
    "SanaControlNetModel": "a ControlNet for Sana",
    "SD3ControlNetModel": "a ControlNet for Stable Diffusion 3",
    "SparseControlNetModel": "a SparseCtrl of AnimateDiff, for frames of films",
    "T2IAdapter": "a T2I-Adapter, which adds inside the encoder's blocks, where graphs have no inputs",
}
OTHER_TENSORS = {
    r"lora_controlnet$|.*\.lora_controlnet": "a Control-LoRA, which is a ControlNet only with its base model's weights",
    r"(input_blocks|time_embed|label_emb)\..*\.(up|down)$": "a Control-LoRA, which is a ControlNet only with its base "
    "model's weights",
    r"(adapter\.)?body\.\d+\.(block1|resnets|in_conv|downsample)": OTHER_CLASSES["T2IAdapter"],
    r"adapter\.(body|conv_in)": OTHER_CLASSES["T2IAdapter"],
    r"lllite_": "a ControlLLLite, which alters the denoiser's own layers",
    r"(control_model\.)?(enc_zero_convs|input_hint_block_xs|base_to_ctrl|ctrl_to_base)": OTHER_CLASSES[
        "ControlNetXSAdapter"
    ],
    r"(controlnet_blocks|double_blocks|transformer_blocks)\.\d+\.": "a ControlNet for a transformer, such as FLUX or "
    "Stable Diffusion 3",
    r"image_proj\.": "an IP-Adapter; overpaint export-image-prompt makes a bundle of it",
    r"lora_(unet|te)": "a LoRA; pictures take it with --lora",
    r"model\.diffusion_model\.": "a whole checkpoint; overpaint export makes a bundle of it",
}


@dataclass(frozen=True)
class ControlNetSource:
    """A ControlNet: its configuration, completed by its class's defaults, its weights, mapped from disk, and how they
    were kept."""

    config: Config
    state: State
    layout: str

    @property
    def union(self) -> bool:
        """Does it take several kinds of hints, which it is to tell apart?"""
        return bool(self.config["_class_name"] == ControlNetUnionModel.__name__)

    def skeleton(self) -> Any:
        """The model without weights, which takes no memory; raises `ExportError` where its weights do not fit it."""
        config = {name: value for name, value in self.config.items() if name != "_class_name"}
        try:
            with torch.device("meta"):
                model = CLASSES[self.config["_class_name"]](**config)
        except (TypeError, ValueError) as exc:
            raise ExportError(f"controlnet: diffusers cannot build it of its configuration ({exc})") from exc
        own = model.state_dict()
        check_state("controlnet", sorted(own.keys() - self.state.keys()), sorted(self.state.keys() - own.keys()))
        return model


def open_controlnet(path: Path) -> ControlNetSource:
    """Open a diffusers folder, or a .safetensors file under the original names or diffusers'.

    Raises `InputError` for a pickle, and for what is no ControlNet of Stable Diffusion 1.x, 2.x or XL, by its name.
    """
    if path.suffix.lower() in PICKLES:
        refuse_pickle(path)
    if path.is_dir():
        config = _completed(_checked(path, read_config(path / "config.json")))
        return ControlNetSource(config, read_tensors(weight_files(path, STEM).files), "diffusers folder")
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        raise InputError(f"{path}: is no diffusers folder and no .safetensors file of a ControlNet; name one")
    return _open_file(path)


def _checked(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    kind = config.get("_class_name")
    if kind in OTHER_CLASSES:
        raise InputError(f"{path}: is {OTHER_CLASSES[kind]}; {TAKE}")
    if kind not in CLASSES:
        raise InputError(f"{path}: is a {kind or 'model of no class'}, not a {' or '.join(CLASSES)}")
    return config


def _open_file(path: Path) -> ControlNetSource:
    state = read_tensors([path])
    original = "controlnet_cond_embedding.conv_in.weight" not in state
    try:
        own = _converted(state) if original else state
        config = _completed(_config(own))
    except (KeyError, IndexError, ValueError) as exc:
        raise _unlike(path, state) from exc
    layout = "original" if original else "diffusers"
    return ControlNetSource(config, own, f"single file, {layout} names")


def _unlike(path: Path, state: State) -> InputError:
    """What a file is that is no ControlNet's."""
    for pattern, what in OTHER_TENSORS.items():
        if any(re.match(pattern, name) for name in state):
            return InputError(f"{path}: is {what}; {TAKE}")
    return InputError(
        f"{path}: has no tensors under a ControlNet's names (input_hint_block.* or controlnet_cond_embedding.*); {TAKE}"
    )


def _completed(config: Mapping[str, Any]) -> Config:
    kind = config["_class_name"]
    own = defaults(CLASSES[kind])
    return own | {name: value for name, value in config.items() if name in own} | {"_class_name": kind}


def _converted(state: State) -> State:
    """Weights under the original names (Zhang et al.'s code; `control_model.*` or without it) under diffusers'."""
    own = {name.removeprefix("control_model."): tensor for name, tensor in state.items()}
    downs = _numbers(own, r"input_blocks\.(\d+)\.0\.op\.weight")
    made = convert_controlnet_checkpoint(own, {"layers_per_block": downs[0] - 1})
    # diffusers takes the hint's layers for those of 8 pixels a latent, and knows no sizes.
    made = {name: tensor for name, tensor in made.items() if not name.startswith(EMBED)}
    hints = _numbers(own, r"input_hint_block\.(\d+)\.weight")
    names = ["conv_in", *(f"blocks.{index}" for index in range(len(hints) - 2)), "conv_out"]
    renamed = {f"input_hint_block.{number}.": f"{EMBED}{name}." for number, name in zip(hints, names, strict=True)}
    renamed |= {f"label_emb.0.{place}.": f"add_embedding.linear_{number}." for place, number in ((0, 1), (2, 2))}
    for old, new in renamed.items():
        made |= {new + name.removeprefix(old): own[name] for name in own if name.startswith(old)}
    if any(tensor is None for tensor in made.values()):
        raise KeyError("a zero convolution")
    return made


def _config(state: State) -> Config:
    """The configuration of weights under diffusers' names, read off their shapes."""
    levels = _numbers(state, r"down_blocks\.(\d+)\.")
    channels = [len(state[f"down_blocks.{level}.resnets.0.conv1.weight"]) for level in levels]
    depths = [_depth(state, f"down_blocks.{level}.attentions.0.") for level in levels]
    middle = _depth(state, "mid_block.attentions.0.")
    texts = [tensor.shape[1] for name, tensor in state.items() if name.endswith("attn2.to_k.weight")]
    linear = any(name.endswith("proj_in.weight") and tensor.ndim == 2 for name, tensor in state.items())
    # diffusers takes the middle's depth from the last level, which may have no attention.
    blocks = [*(depth or 1 for depth in depths[:-1]), depths[-1] or middle or 1]
    return {
        "_class_name": (ControlNetUnionModel if "task_embedding" in state else ControlNetModel).__name__,
        "in_channels": state["conv_in.weight"].shape[1],
        "conditioning_channels": state[f"{EMBED}conv_in.weight"].shape[1],
        "conditioning_embedding_out_channels": _embedding(state),
        "block_out_channels": channels,
        "layers_per_block": len(_numbers(state, r"down_blocks\.0\.resnets\.(\d+)\.")),
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "mid_block_type": "UNetMidBlock2DCrossAttn" if middle else "UNetMidBlock2D",
        "cross_attention_dim": texts[0] if texts else 2048,
        "attention_head_dim": [max(count // HEAD, 1) for count in channels] if linear else 8,
        "use_linear_projection": linear,
        "transformer_layers_per_block": blocks,
        **_sizes(state),
        **_union(state),
    }


def _embedding(state: State) -> list[int]:
    """The widths of the hint's layers: of the first, and of every one that halves the picture."""
    numbers = _numbers(state, rf"{re.escape(EMBED)}blocks\.(\d+)\.weight")
    names = ("conv_in", *(f"blocks.{number}" for number in numbers[1::2]))
    return [len(state[f"{EMBED}{name}.weight"]) for name in names]


def _sizes(state: State) -> Config:
    """What XL's has besides: the pooled text and the picture's sizes."""
    if "add_embedding.linear_1.weight" not in state:
        return {}
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": state["add_embedding.linear_1.weight"].shape[1],
    }


def _union(state: State) -> Config:
    """What a union model's has besides."""
    if "task_embedding" not in state:
        return {}
    count, width = state["task_embedding"].shape
    return {
        "num_control_type": count,
        "num_trans_channel": width,
        "num_trans_layer": len(_numbers(state, r"transformer_layes\.(\d+)\.")),
        "num_proj_channel": len(state["spatial_ch_projs.weight"]),
    }


def _depth(state: State, place: str) -> int:
    return len(_numbers(state, rf"{re.escape(place)}transformer_blocks\.(\d+)\."))


def _numbers(names: Iterable[str], pattern: str) -> list[int]:
    return sorted({int(match[1]) for name in names if (match := re.match(pattern, name))})
