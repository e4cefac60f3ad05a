"""A small CLIP image encoder that knows styles and concepts, for image prompts."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as fn
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from .data import Pictures
from .loop import Budget, Trainer
from .views import SIZE

log = logging.getLogger(__name__)

WIDTH, LAYERS, PATCH, EMBEDDING = 128, 3, 8, 128
CONCEPT = 0.3  # weight of the loss of concepts beside that of styles
MEAN, STD = (
    np.array(values, np.float32) for values in (CLIPImageProcessor().image_mean, CLIPImageProcessor().image_std)
)


def build() -> CLIPVisionModelWithProjection:
    """A vision transformer of `LAYERS` layers on patches of 8 x 8 of 64 x 64 pixels."""
    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        projection_dim=EMBEDDING,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=PATCH,
        attn_implementation="eager",
    )
    return CLIPVisionModelWithProjection(config)


def processor() -> CLIPImageProcessor:
    """What brings pictures to the encoder's size, with CLIP's mean and spread."""
    return CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})


def to_model(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 [n, 64, 64, 3] -> what `processor` makes of it, float32 [n, 3, 64, 64]."""
    return torch.from_numpy((pixels / np.float32(255) - MEAN) / STD).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def embed(encoder: CLIPVisionModelWithProjection, pixels: NDArray[np.uint8], batch: int = 64) -> torch.Tensor:
    """The pictures' embeddings, float32 [n, EMBEDDING]."""
    return torch.cat([encoder(to_model(pixels[i : i + batch])).image_embeds for i in range(0, len(pixels), batch)])


def train(
    pictures: Pictures, pixels: NDArray[np.uint8], owner: NDArray[np.int64], work: Path, budget: Budget, batch: int
) -> nn.Module:
    """Train on naming style and concept of views `pixels` [n, 64, 64, 3], each of the picture `owner` [n]."""
    torch.manual_seed(0)
    encoder = build()
    heads = nn.ModuleDict(
        {"style": nn.Linear(EMBEDDING, len(pictures.styles)), "concept": nn.Linear(EMBEDDING, len(pictures.names))}
    )
    trainer = Trainer(nn.ModuleDict({"encoder": encoder, "heads": heads}), budget, work / "vision.state", 0.05)
    rng = np.random.default_rng((trainer.step, 1))
    right: list[float] = []

    def loss(step: int) -> torch.Tensor:
        views = rng.integers(len(pixels), size=batch)
        chosen = owner[views]
        with torch.autocast("cpu", torch.bfloat16):
            seen = encoder(to_model(pixels[views])).image_embeds
        style, concept = (heads[name](seen.float()) for name in ("style", "concept"))
        target = torch.from_numpy(pictures.style[chosen])
        right.append((style.argmax(1) == target).float().mean().item())
        if step % 50 == 49:
            log.info("step %d: %.0f %% of the styles right", step + 1, 100 * np.mean(right[-50:]))
        return fn.cross_entropy(style, target) + CONCEPT * fn.cross_entropy(
            concept, torch.from_numpy(pictures.concept[chosen])
        )

    trainer.run(loss, batch)
    trainer.swap()
    return encoder.eval().requires_grad_(False)
