"""Small checkpoints with seeded random weights of the families besides Stable Diffusion 1.x and 2.x."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLImg2ImgPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from overpaint.runtime.model.shipped import MODELS
from tests.support.checkpoints import tiny_text_encoder, tiny_unet, tiny_vae, write_tokenizer

SCHEDULER = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1,
    "timestep_spacing": "leading",
}  # fmt: skip
POOLED, EACH = 24, 8
"""The width of the pooled text, and of the embedding of each number of the picture's size."""


def xl_checkpoint(
    path: Path,
    *,
    refiner: bool = False,
    scheduler: Any = None,
    zero_empty: bool | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    vae: str = "kl",
    text: dict[str, Any] | None = None,
    text_2: dict[str, Any] | None = None,
    **unet: Any,
) -> Path:
    """Save a tiny checkpoint laid out as SDXL under `path` and return it: two text encoders, the second projected; of a
    `refiner` the second alone, and a score among the numbers. `unet` are changes to the U-Net's configuration."""
    torch.manual_seed(seed)
    first, second = write_tokenizer(path / "tokenizer"), write_tokenizer(path / "tokenizer_2", "!")
    own = {
        "hidden_size": 40, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
        "hidden_act": "gelu", "projection_dim": POOLED, "bos_token_id": second.bos_token_id,
        "eos_token_id": second.eos_token_id, "pad_token_id": second.pad_token_id,
    }  # fmt: skip
    config = CLIPTextConfig(vocab_size=len(second), **{**own, **(text_2 or {})})
    numbers = 5 if refiner else 6
    denoiser = tiny_unet(**{
        "cross_attention_dim": 40 if refiner else 72,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": EACH,
        "projection_class_embeddings_input_dim": POOLED + numbers * EACH,
        "transformer_layers_per_block": (1, 2, 1),
        "use_linear_projection": True,
        **unet,
    })  # fmt: skip
    pipeline = StableDiffusionXLImg2ImgPipeline(
        vae=tiny_vae(vae),
        text_encoder=None if refiner else tiny_text_encoder(first, **(text or {})),
        text_encoder_2=CLIPTextModelWithProjection(config),
        tokenizer=None if refiner else first,
        tokenizer_2=second,
        unet=denoiser,
        scheduler=scheduler or EulerDiscreteScheduler(**SCHEDULER),
        requires_aesthetics_score=refiner,
        force_zeros_for_empty_prompt=not refiner if zero_empty is None else zero_empty,
        add_watermarker=False,
    )
    pipeline.to(dtype=dtype).save_pretrained(path, safe_serialization=True)
    return path


SMALL: dict[str, Any] = {
    "block_out_channels": (16, 32),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 1),
    "mid_block_type": "UNetMidBlock2D",
}
"""Changes to a U-Net that leave it two levels, of which one has attention, as SDXL's first two."""


def variant(base: Path, path: Path, *, index: dict[str, Any] | None = None, scheduler: Any = None, **unet: Any) -> Path:
    """Save the checkpoint `base` under `path` with another U-Net: its configuration with the changes, and new weights;
    with changes to the pipeline's `index`, and another scheduler."""
    shutil.copytree(base, path, ignore=shutil.ignore_patterns("unet"))
    torch.manual_seed(5)
    config = UNet2DConditionModel.load_config(base / "unet")
    UNet2DConditionModel.from_config({**config, **unet}).save_pretrained(path / "unet")
    changes = dict(index or {})
    if scheduler is not None:
        changes["scheduler"] = ["diffusers", type(scheduler).__name__]
        scheduler.save_pretrained(path / "scheduler")
    file = path / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return path


def peer_of(checkpoint: Path) -> Any:
    """diffusers' own pipeline of a checkpoint, the one that its index names."""
    kind = getattr(diffusers, json.loads((checkpoint / "model_index.json").read_text())["_class_name"])
    peer = kind.from_pretrained(checkpoint)
    peer.set_progress_bar_config(disable=True)
    return peer


PHOTO = Image.open(MODELS / "examples/fox.png").convert("RGB").resize((64, 48), Image.Resampling.LANCZOS)
_Y, _X = np.mgrid[:48, :64]
MASK = Image.fromarray((np.hypot(_X - 38, _Y - 22) < 15).astype(np.uint8) * np.uint8(255))
"""A disc right of the middle of `PHOTO`."""
