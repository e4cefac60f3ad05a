"""A LoRA for the shipped model that paints in blue on white, as on tiles of Delft; see README.md.

``python -m training.lora --out DIR``. It learns from the model's own pictures, redrawn: nothing is downloaded.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

import overpaint

from . import norm, unet
from .control import CHECKPOINT, parts
from .data import CORE, caption
from .loop import Budget, Trainer

log = logging.getLogger(__name__)

NAME = "delft.safetensors"
CARD = Path(__file__).with_name("lora_card.md")
RANK = 8
LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.2", "conv_shortcut", "time_emb_proj")
"""Ends of the names of the layers that it changes: those that a request's LoRA may change."""
STYLES = ("ink", "sketch", "flat")
STEPS, GUIDANCE = 20, 3.0
WHITE, BLUE = np.array([255, 255, 255]), np.array([12, 36, 118])
NO_TEXT = 0.1
"""Part of the captions shown empty, for classifier-free guidance."""


class LowRank(nn.Module):
    """A layer with a product of low rank beside it (Hu et al., arXiv:2106.09685), which is 0 at the beginning."""

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        self.down: nn.Module
        self.up: nn.Module
        if isinstance(layer, nn.Conv2d):
            kernel, stride, padding = layer.kernel_size, layer.stride, layer.padding
            self.down = nn.Conv2d(layer.in_channels, RANK, kernel, stride, padding, bias=False)
            self.up = nn.Conv2d(RANK, layer.out_channels, 1, bias=False)
        else:
            self.down = nn.Linear(layer.in_features, RANK, bias=False)
            self.up = nn.Linear(RANK, layer.out_features, bias=False)
        nn.init.normal_(self.down.weight, std=1 / RANK)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's output and the product's."""
        made: torch.Tensor = self.layer(x) + self.up(self.down(x))
        return made


def adapted(base: UNet2DConditionModel) -> dict[str, LowRank]:
    """Put low-rank products beside the layers of a U-Net; returns them by the layers' names."""
    found = {
        name: module
        for name, module in base.named_modules()
        if name.endswith(LAYERS) and isinstance(module, (nn.Linear, nn.Conv2d))
    }
    made = {name: LowRank(module) for name, module in found.items()}
    for name, module in made.items():
        parent, _, own = name.rpartition(".")
        setattr(base.get_submodule(parent), own, module)
    return made


def drawn(names: list[str], threads: int) -> tuple[list[str], NDArray[np.uint8]]:
    """Captions, and the model's own picture of each, uint8 [pictures, 64, 64, 3]."""
    captions = [caption(name, style) for style in STYLES for name in names]
    made = []
    with overpaint.load("tiny", threads=threads) as pipe:
        white = np.full((64, 64, 3), 255, np.uint8)
        for place in range(0, len(captions), 16):
            part = captions[place : place + 16]
            result = pipe(
                [white] * len(part), part, strength=1.0, steps=STEPS, guidance_scale=GUIDANCE, seed=place,
            )  # fmt: skip
            made += [np.asarray(image) for image in result.images]
    return captions, np.stack(made)


def delft(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures in shades of one blue: the darker a place was, the deeper it is."""
    grey = pixels.astype(np.float64) @ [0.299, 0.587, 0.114]
    dark = (1 - grey / 255)[..., None]
    return np.rint(WHITE + (BLUE - WHITE) * dark**0.7).astype(np.uint8)


@torch.no_grad()
def latents_of(vae: AutoencoderKL, pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Scaled latents of pictures."""
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    made = [vae.encode(part).latent_dist.mean for part in planes.split(64)]
    return torch.cat(made) * vae.config.scaling_factor


def train(budget: Budget, batch: int, work: Path) -> dict[str, LowRank]:
    """Train low-rank products on the U-Net's own loss; all else stays as it is."""
    torch.manual_seed(0)
    vae, base, text, tokenizer = parts(CHECKPOINT)
    captions, pixels = drawn(CORE.read_text(encoding="utf-8").splitlines(), torch.get_num_threads())
    targets = latents_of(vae, delft(pixels))
    with torch.no_grad():
        ids = unet.tokens(tokenizer, ["", *captions])
        hidden = torch.cat([text(part).last_hidden_state for part in ids.split(128)])
    base.set_attn_processor(AttnProcessor())
    norm.replace(base)
    products = adapted(base)
    base.to(memory_format=torch.channels_last)
    trainer = Trainer(base, budget, work / "lora.state", weight_decay=0.0)
    log.info("parameters: %.3f M", sum(weight.numel() for weight in trainer.weights) / 1e6)
    noising = unet.scheduler()
    levels = noising.config.num_train_timesteps
    rng = np.random.default_rng(trainer.step)

    def loss(step: int) -> torch.Tensor:
        index = rng.integers(len(captions), size=batch)
        clean = targets[index].contiguous(memory_format=torch.channels_last)
        words = hidden[np.where(rng.random(batch) < NO_TEXT, 0, index + 1)]
        noise = torch.randn_like(clean)
        timestep = (torch.rand(batch) ** unet.NOISY * levels).long().clamp_max(levels - 1)
        with torch.autocast("cpu", torch.bfloat16):
            v = base(noising.add_noise(clean, noise, timestep), timestep, words).sample
        return (v.float() - noising.get_velocity(clean, noise, timestep)).square().mean()

    trainer.run(loss, batch)
    trainer.swap()
    return products


def publish(products: dict[str, LowRank], folder: Path) -> None:
    """Write the LoRA in float16, by diffusers' names, with its card."""
    weights = {}
    for name, product in products.items():
        for part, layer in (("lora_A", product.down), ("lora_B", product.up)):
            weights[f"unet.{name}.{part}.weight"] = layer.weight.detach().half().contiguous()
    save_file(weights, folder / NAME)
    (folder / "README.md").write_text(CARD.read_text(encoding="utf-8"), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the LoRA's folder; its state lies beside it")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's)")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--batch", type=int, default=32)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.out.mkdir(parents=True, exist_ok=True)
    budget = Budget(args.minutes, args.rate, warmup=20, average=0.98, save_minutes=2)
    publish(train(budget, args.batch, args.out.parent), args.out)


if __name__ == "__main__":
    main()
