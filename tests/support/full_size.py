"""Checkpoints of full-size configurations with seeded random weights, and the memory that an export takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.support.checkpoints import write_tokenizer
from tests.support.families import SCHEDULER

LARGE: Mapping[str, Any] = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "use_linear_projection": True,
}
SDXL: Mapping[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "projection_class_embeddings_input_dim": 2816,
    **LARGE,
}
REFINER: Mapping[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (384, 768, 1536, 1536),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": 4,
    "attention_head_dim": (6, 12, 24, 24),
    "cross_attention_dim": 1280,
    "projection_class_embeddings_input_dim": 2560,
    **LARGE,
}
SD2: Mapping[str, Any] = {
    "sample_size": 96,
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
VAE: Mapping[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
CLIP_L: Mapping[str, Any] = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
}  # fmt: skip
CLIP_H: Mapping[str, Any] = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
    "hidden_act": "gelu",
}  # fmt: skip
CLIP_G: Mapping[str, Any] = {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
    "hidden_act": "gelu", "projection_dim": 1280,
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """A pipeline of diffusers and its parts' configurations; the second text encoder is one with a projection."""

    pipeline: str
    unet: Mapping[str, Any]
    texts: Mapping[str, Mapping[str, Any]]
    scaling_factor: float
    prediction: str = "epsilon"
    index: Mapping[str, Any] = field(default_factory=dict)


FAMILIES: Mapping[str, Family] = {
    "sdxl": Family(
        "StableDiffusionXLPipeline", SDXL, {"text_encoder": CLIP_L, "text_encoder_2": CLIP_G}, 0.13025,
        index={"force_zeros_for_empty_prompt": True},
    ),
    "sdxl-refiner": Family(
        "StableDiffusionXLImg2ImgPipeline", REFINER, {"text_encoder_2": CLIP_G}, 0.13025,
        index={"requires_aesthetics_score": True, "force_zeros_for_empty_prompt": False},
    ),
    "sd2": Family("StableDiffusionPipeline", SD2, {"text_encoder": CLIP_H}, 0.18215, "v_prediction"),
    "sd2-inpainting": Family(
        "StableDiffusionInpaintPipeline", {**SD2, "sample_size": 64, "in_channels": 9}, {"text_encoder": CLIP_H},
        0.18215,
    ),
}  # fmt: skip


def full_size(path: Path, name: str, *, seed: int = 0) -> Path:
    """Save a diffusers checkpoint of one of `FAMILIES` in float16 (SDXL's takes 6.9 GB) under `path` and return it."""
    family = FAMILIES[name]
    large = name.startswith("sdxl")
    index: dict[str, Any] = {"_class_name": family.pipeline, **family.index}
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {
            "unet": UNet2DConditionModel(**family.unet),
            "vae": AutoencoderKL(**VAE, scaling_factor=family.scaling_factor, sample_size=1024 if large else 512),
        }
    for part, config in family.texts.items():
        tokenizer = part.replace("text_encoder", "tokenizer")
        index[tokenizer] = ["transformers", "CLIPTokenizer"]
        ids = write_tokenizer(path / tokenizer, *(["!"] if part.endswith("_2") else []))
        special = {key: getattr(ids, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
        kind = CLIPTextModelWithProjection if part.endswith("_2") else CLIPTextModel
        with torch.device("meta"):
            parts[part] = kind(CLIPTextConfig(**config, **special))
    rng = np.random.default_rng(seed)
    for part, module in parts.items():
        of_text = part.startswith("text")
        index[part] = ["transformers" if of_text else "diffusers", type(module).__name__]
        folder = path / part
        folder.mkdir()
        if of_text:
            module.config.save_pretrained(folder)
        else:
            module.save_config(folder)
        write_random(module, folder / f"{'model' if of_text else 'diffusion_pytorch_model'}.safetensors", rng)
    scheduler = _scheduler(family, large)
    scheduler.save_pretrained(path / "scheduler")
    index["scheduler"] = ["diffusers", type(scheduler).__name__]
    (path / "model_index.json").write_text(json.dumps(index, indent=2))
    return path


def _scheduler(family: Family, large: bool) -> DDIMScheduler | EulerDiscreteScheduler:
    if large:
        return EulerDiscreteScheduler(**SCHEDULER)
    return DDIMScheduler(**SCHEDULER, clip_sample=False, set_alpha_to_one=False, prediction_type=family.prediction)


def write_random(module: nn.Module, path: Path, rng: np.random.Generator) -> None:
    """Write weights for a module as float16 safetensors, one tensor in memory at a time: normal with the variance that
    keeps activations of one size, 1 for the factors of norms, 0 for what is added."""
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            _random(name, shape, rng).astype(np.float16).tofile(stream)


def _random(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    if len(shape) < 2:
        return np.full(shape, float(name.endswith("weight")), np.float32)
    inputs = shape[1] if "embedding" in name and "linear" not in name else int(np.prod(shape[1:]))
    return rng.standard_normal(shape, np.float32) * np.float32(inputs**-0.5)


def export_apart(checkpoint: Path, bundle: Path, *options: str, command: str = "export") -> int:
    """Run `overpaint export` as `run_apart` does."""
    return run_apart(command, str(checkpoint), str(bundle), *options)


def run_apart(*words: str, said: IO[str] | None = None) -> int:
    """Run a command of overpaint in a process of its own; gives its peak resident memory in bytes, with mapped files.

    What it prints goes to `said`. Raises `RuntimeError` where it fails.
    """
    process = subprocess.Popen([sys.executable, "-m", "overpaint", *words], stdout=said, stderr=said)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"overpaint {words[0]} ended with {process.returncode}")
    return usage.ru_maxrss * 1024
