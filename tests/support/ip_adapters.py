"""IP-Adapters with seeded random weights in the original layout, for checkpoints of `tests.support.checkpoints`."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

SIDE, HIDDEN, EMBEDDING = 32, 24, 16
WEIGHTS, ENCODER = "ip-adapter.safetensors", "image_encoder"


def ip_adapter(folder: Path, unet: UNet2DConditionModel, kind: str = "base", seed: int = 0) -> Path:
    """Write a random IP-Adapter ("base" or "plus") for a U-Net, with its image encoder beside it; its file."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    width = unet.config.cross_attention_dim
    image = _base(width) if kind == "base" else _plus(width)
    state = {f"image_proj.{name}": tensor for name, tensor in image.items()}
    for number, name in enumerate(unet.attn_processors):
        if "attn2" in name:
            like = unet.get_submodule(name.removesuffix(".processor")).to_k.weight
            for part in ("to_k_ip", "to_v_ip"):
                state[f"ip_adapter.{number}.{part}.weight"] = torch.randn_like(like) * 0.3
    save_file({name: tensor.detach().contiguous() for name, tensor in state.items()}, folder / WEIGHTS)
    config = CLIPVisionConfig(
        hidden_size=HIDDEN,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=8,
        projection_dim=EMBEDDING,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(folder / ENCODER)
    return folder / WEIGHTS


def _base(width: int) -> dict[str, Tensor]:
    return {
        "proj.weight": torch.randn(4 * width, EMBEDDING),
        "proj.bias": torch.randn(4 * width),
        "norm.weight": 1 + torch.randn(width) / 10,
        "norm.bias": torch.randn(width) / 10,
    }


def _plus(width: int, inner: int = 64, tokens: int = 6, depth: int = 4) -> dict[str, Tensor]:
    """A resampler of heads of 64 and as many layers as diffusers takes."""

    def linear(out: int, into: int) -> Tensor:
        return torch.randn(out, into) / into**0.5

    def norm(name: str, size: int) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + torch.randn(size) / 10, f"{name}.bias": torch.randn(size) / 10}

    made = {
        "latents": torch.randn(1, tokens, inner),
        "proj_in.weight": linear(inner, HIDDEN),
        "proj_in.bias": torch.zeros(inner),
        "proj_out.weight": linear(width, inner),
        "proj_out.bias": torch.zeros(width),
        **norm("norm_out", width),
    }
    for layer in (f"layers.{number}" for number in range(depth)):
        made |= {
            f"{layer}.0.to_q.weight": linear(inner, inner),
            f"{layer}.0.to_kv.weight": linear(2 * inner, inner),
            f"{layer}.0.to_out.weight": linear(inner, inner),
            f"{layer}.1.1.weight": linear(4 * inner, inner),
            f"{layer}.1.3.weight": linear(inner, 4 * inner),
            **norm(f"{layer}.0.norm1", inner),
            **norm(f"{layer}.0.norm2", inner),
            **norm(f"{layer}.1.0", inner),
        }
    return made
