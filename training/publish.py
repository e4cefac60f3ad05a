"""Assembles the diffusers folder: float16 weights, tokenizer, scheduler, model card."""

from __future__ import annotations

import copy
from pathlib import Path

from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import nn
from transformers import CLIPTokenizer

from .tokenizer import write_files
from .unet import scheduler

CARD = Path(__file__).with_name("model_card.md")


def publish(vae: AutoencoderKL, models: nn.ModuleDict, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the checkpoint to `folder`.

    The float16 weights are the model: whoever loads them in float32 computes with those very numbers.
    """
    pipeline = StableDiffusionPipeline(
        vae=copy.deepcopy(vae).half(),
        text_encoder=copy.deepcopy(models["text"]).half(),
        tokenizer=tokenizer,
        unet=copy.deepcopy(models["unet"]).half(),
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    write_files(tokenizer, folder / "tokenizer")
    (folder / "README.md").write_text(CARD.read_text(encoding="utf-8"), encoding="utf-8")
