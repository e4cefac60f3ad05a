"""A checkpoint of SDXL's full size with seeded random weights, and the memory that an export takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.support.checkpoints import write_tokenizer
from tests.support.families import SCHEDULER

UNET: Mapping[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
}
VAE: Mapping[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
}
SECOND: Mapping[str, Any] = {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
    "hidden_act": "gelu", "projection_dim": 1280,
}  # fmt: skip
INDEX: Mapping[str, Any] = {
    "_class_name": "StableDiffusionXLPipeline",
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "force_zeros_for_empty_prompt": True,
}


def xl_full_size(path: Path, *, seed: int = 0) -> Path:
    """Save a diffusers checkpoint of SDXL's full size in float16 (6.9 GB) under `path` and return it."""
    tokens = write_tokenizer(path / "tokenizer"), write_tokenizer(path / "tokenizer_2", "!")
    first, second = (
        {"bos_token_id": each.bos_token_id, "eos_token_id": each.eos_token_id, "pad_token_id": each.pad_token_id}
        for each in tokens
    )
    with torch.device("meta"):
        parts: dict[str, Any] = {
            "text_encoder": CLIPTextModel(CLIPTextConfig(
                hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, **first
            )),
            "text_encoder_2": CLIPTextModelWithProjection(CLIPTextConfig(**SECOND, **second)),
            "unet": UNet2DConditionModel(**UNET),
            "vae": AutoencoderKL(**VAE),
        }  # fmt: skip
    rng = np.random.default_rng(seed)
    for name, module in parts.items():
        folder = path / name
        folder.mkdir()
        if name.startswith("text"):
            module.config.save_pretrained(folder)
        else:
            module.save_config(folder)
        stem = "model" if name.startswith("text") else "diffusion_pytorch_model"
        write_random(module, folder / f"{stem}.safetensors", rng)
    EulerDiscreteScheduler(**SCHEDULER).save_pretrained(path / "scheduler")
    (path / "model_index.json").write_text(json.dumps(INDEX, indent=2))
    return path


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
    """Run `overpaint export` in a process of its own; gives its peak resident memory in bytes, with mapped files."""
    process = subprocess.Popen([sys.executable, "-m", "overpaint", command, str(checkpoint), str(bundle), *options])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"overpaint {command} ended with {process.returncode}")
    return usage.ru_maxrss * 1024
