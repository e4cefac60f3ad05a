"""LoRA files for tests, of the layers of `tests.support.bundles.LORA_LAYERS` or of others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from overpaint.bundles.tensor import Array

TO_K = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
GEGLU = "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj"
TIME = "up_blocks.0.resnets.1.time_emb_proj"
TEXT = "text_model.encoder.layers.0.self_attn.q_proj"


def factors(inputs: int, outputs: int, rank: int = 2, seed: int = 0) -> tuple[Array, Array]:
    """Down [rank, inputs] and up [outputs, rank]."""
    random = np.random.default_rng(seed)
    return tuple(random.standard_normal(shape).astype(np.float32) for shape in ((rank, inputs), (outputs, rank)))  # type: ignore[return-value]


def kohya(name: str, inputs: int, outputs: int, rank: int = 2, alpha: float = 1.0, seed: int = 0) -> dict[str, Array]:
    """The tensors of one layer, as kohya's trainers name them."""
    down, up = factors(inputs, outputs, rank, seed)
    return {
        f"{name}.lora_down.weight": down,
        f"{name}.lora_up.weight": up,
        f"{name}.alpha": np.array(alpha, np.float32),
    }


def unet(seed: int = 0, rank: int = 2) -> dict[str, Array]:
    """A LoRA of the fake denoiser, in kohya's names."""
    prefix = "lora_unet_" + TO_K.replace(".", "_")
    return kohya(prefix, 8, 6, rank, seed=seed) | kohya("lora_unet_" + GEGLU.replace(".", "_"), 6, 8, rank, seed=seed)


def text(seed: int = 0) -> dict[str, Array]:
    """A LoRA of the fake text encoder, in kohya's names."""
    return kohya("lora_te_" + TEXT.replace(".", "_"), 8, 8, seed=seed)


def write(path: Path, tensors: Mapping[str, Array], **metadata: str) -> Path:
    """Write a .safetensors file."""
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path, metadata or None)
    return path
