"""Text encoder and U-Net, trained together on the VAE's latents."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from . import norm
from .data import Pictures, caption
from .loop import Budget, Trainer, processes, rank
from .shapes import Shape
from .tokenizer import LENGTH

log = logging.getLogger(__name__)

UNCONDITIONAL = 0.1  # part of the captions shown empty, for classifier-free guidance
SYNONYM = 0.1  # part of the captions that name the concept by another word

# Timesteps are 1000 u**NOISY with u uniform: what a picture shows is decided in the noisy half, and at the other end v
# is little but noise.
NOISY = 0.65


def build_unet(shape: Shape) -> UNet2DConditionModel:
    """Stable Diffusion's U-Net in small: cross-attention from a half of the latents' side on."""
    n = len(shape.unet)
    return UNet2DConditionModel(
        sample_size=shape.size // 4,
        in_channels=4,
        out_channels=4,
        layers_per_block=shape.unet_layers,
        block_out_channels=shape.unet,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * (n - 1)),
        up_block_types=(*["CrossAttnUpBlock2D"] * (n - 1), "UpBlock2D"),
        cross_attention_dim=shape.width,
        attention_head_dim=4,  # diffusers reads this as the number of heads
    )


def build_text(tokenizer: CLIPTokenizer, shape: Shape) -> CLIPTextModel:
    """A small CLIP text encoder for the tokenizer's vocabulary."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=4 * shape.width,
        projection_dim=shape.width,
        num_hidden_layers=shape.text_layers,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",
    )
    return CLIPTextModel(config)


def scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise levels, v-prediction (Salimans and Ho 2022), DDIM from the last level on."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )


def tokens(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Ids of the captions padded to the model's length, int64 [captions, 77]."""
    return tokenizer(captions, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt").input_ids


def synonyms(pictures: Pictures) -> list[list[str]]:
    """For each concept the keywords that no other concept shares."""
    shared = Counter(word for words in pictures.keywords for word in words)
    return [[word for word in words if shared[word] == 1] for words in pictures.keywords]


class Captions:
    """Draws the token ids of a caption for a picture: its name, at times a synonym, at times nothing."""

    def __init__(self, pictures: Pictures, tokenizer: CLIPTokenizer) -> None:
        texts, self.rows = [""], []
        others = synonyms(pictures)
        for concept, style in zip(pictures.concept, pictures.style, strict=True):
            words = [pictures.names[concept], *others[concept]]
            self.rows.append((len(texts), len(words)))
            texts += [caption(word, pictures.styles[style]) for word in words]
        self.ids = tokens(tokenizer, texts)

    def draw(self, index: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """int64 [n, 77] for the pictures `index` [n]."""
        chosen = []
        for i in index:
            first, count = self.rows[i]
            luck = rng.random()
            if luck < UNCONDITIONAL:
                chosen.append(0)
            elif luck < UNCONDITIONAL + SYNONYM and count > 1:
                chosen.append(first + int(rng.integers(1, count)))
            else:
                chosen.append(first)
        return self.ids[chosen]


def train(
    shape: Shape,
    pictures: Pictures,
    latents: torch.Tensor,
    tokenizer: CLIPTokenizer,
    work: Path,
    budget: Budget,
    batch: int,
    device: str,
    report: Callable[[nn.ModuleDict], None] | None = None,
) -> nn.ModuleDict:
    """Train `unet` and `text` to predict v; `latents` are scaled, float32 [pictures, 4, h, w]."""
    torch.manual_seed(0)
    text, unet = build_text(tokenizer, shape), build_unet(shape)
    # The plain processor: torch's fused attention on a CPU spends most of a step in its backward pass.
    unet.set_attn_processor(AttnProcessor())
    if device == "cpu":
        norm.replace(unet)
    models = nn.ModuleDict({"text": text, "unet": unet.to(memory_format=torch.channels_last)}).to(device).train()
    log.info(
        "parameters: %s", {name: f"{sum(p.numel() for p in m.parameters()) / 1e6:.2f} M" for name, m in models.items()}
    )
    trainer = Trainer(models, budget, work / "unet.state")
    noising, captions = scheduler(), Captions(pictures, tokenizer)
    latents = latents.to(device, memory_format=torch.channels_last)
    torch.manual_seed(trainer.step + rank())
    rng = np.random.default_rng((trainer.step, rank()))
    share = batch // processes()

    def loss(step: int) -> torch.Tensor:
        index = rng.integers(len(latents), size=share)
        clean = latents[torch.from_numpy(index).to(device)]
        noise = torch.randn_like(clean)
        luck = torch.rand(share, device=device) ** NOISY
        levels = noising.config.num_train_timesteps
        timestep = (luck * levels).long().clamp_max(levels - 1)  # in float32 the power of u can round to 1
        noisy = noising.add_noise(clean, noise, timestep)
        with torch.autocast(device, torch.bfloat16):
            hidden = text(captions.draw(index, rng).to(device)).last_hidden_state
            v = unet(noisy, timestep, hidden).sample
        return (v.float() - noising.get_velocity(clean, noise, timestep)).square().mean()

    trainer.run(loss, batch, report and (lambda: report(models)))
    trainer.swap()
    return models
