"""The autoencoder: pictures in, a quarter of the side in four channels, and back."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray

from . import norm
from .data import Pictures, psnr, sheet
from .loop import Budget, Trainer, processes, rank
from .shapes import Shape

log = logging.getLogger(__name__)

KL = 1e-5  # a mean over latent elements, against a mean over pixel elements


def build(shape: Shape) -> AutoencoderKL:
    """A fully convolutional AutoencoderKL, so that it serves any picture size."""
    n = len(shape.vae)
    vae = AutoencoderKL(
        block_out_channels=shape.vae,
        down_block_types=("DownEncoderBlock2D",) * n,
        up_block_types=("UpDecoderBlock2D",) * n,
        layers_per_block=shape.vae_layers,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=shape.size,
        mid_block_add_attention=False,
    )
    with torch.no_grad():
        # Latents that begin as noise of unit variance teach the decoder to ignore them, and it stays so.
        vae.quant_conv.bias[4:] = -8.0
    return vae


def to_model(pixels: NDArray[np.uint8], device: str) -> torch.Tensor:
    """uint8 [n, h, w, 3] -> float32 [n, 3, h, w] in [-1, 1], channels last in memory."""
    x = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2)
    return (x.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def to_pixels(x: torch.Tensor) -> NDArray[np.uint8]:
    """Float [n, 3, h, w] in [-1, 1] -> uint8 [n, h, w, 3]."""
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def disturb(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Shift, mirror, swap the colour channels and tint one picture [h, w, 3]."""
    shift = rng.integers(-8, 9, 2)
    pixels = np.roll(pixels, shift, (0, 1))[:, :: rng.choice([-1, 1])][..., rng.permutation(3)]
    low, high = np.sort(rng.uniform(0, 255, (2, 3)), axis=0)[:, None, None]
    tinted = low + pixels / 255 * (high - low) if rng.random() < 0.5 else pixels
    return np.asarray(tinted, np.uint8)


@torch.no_grad()
def encode(vae: AutoencoderKL, pixels: NDArray[np.uint8], device: str, batch: int = 64) -> torch.Tensor:
    """The latents' means, unscaled, float32 [n, 4, h/4, w/4]."""
    parts = (to_model(pixels[i : i + batch], device) for i in range(0, len(pixels), batch))
    return torch.cat([vae.encode(x).latent_dist.mean for x in parts])


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: torch.Tensor, batch: int = 64) -> NDArray[np.uint8]:
    """Unscaled latents to pictures, uint8 [n, h, w, 3]."""
    return np.concatenate([to_pixels(vae.decode(part).sample) for part in latents.split(batch)])


@torch.no_grad()
def normalise(vae: AutoencoderKL, latents: torch.Tensor) -> None:
    """Fold each channel's mean and spread into the 1x1 convolutions around the latents.

    Times `scaling_factor` the latents of pictures like those of `latents` [n, 4, h, w] then have mean 0 and
    variance 1 in every channel, so that pure noise is the right beginning; pictures are restored as before.
    """
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3)) * vae.config.scaling_factor
    before, after = vae.quant_conv, vae.post_quant_conv
    before.bias[:4] = (before.bias[:4] - mean) / std
    before.weight[:4] /= std.view(-1, 1, 1, 1)
    before.bias[4:] -= 2 * std.log()
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= std.view(1, -1, 1, 1)


def train(
    shape: Shape,
    pictures: Pictures,
    work: Path,
    budget: Budget,
    batch: int,
    device: str,
    plain: float = 0.7,
    decoder_only: bool = False,
    held: Pictures | None = None,
) -> AutoencoderKL:
    """Train on mean squared error with a little KL; report how well `held` or else pictures of the training do.

    `plain` is the part of a batch that is shown as it is; the rest is shifted, mirrored and recoloured. `decoder_only`
    continues from the trained VAE with the encoder, and so the latents, as they are.
    """
    torch.manual_seed(0)
    vae = build(shape).to(device, memory_format=torch.channels_last)
    if device == "cpu":
        norm.replace(vae)
    name = "vae"
    if decoder_only:
        name = "decoder"
        vae.load_state_dict(torch.load(work / "vae.pt", weights_only=True))
        vae.requires_grad_(False)
        vae.decoder.requires_grad_(True)
    trainer = Trainer(vae, budget, work / f"{name}.state", weight_decay=0.0)
    rng = np.random.default_rng((trainer.step, rank()))
    torch.manual_seed(trainer.step + rank())
    share = batch // processes()

    def reconstruct(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16):
            latents = vae.encode(x).latent_dist
            y = vae.decode(latents.sample()).sample
        return (y.float() - x).square().mean() + KL * latents.kl().mean() / latents.mean[0].numel()

    def loss(step: int) -> torch.Tensor:
        chosen = pictures.pixels[rng.integers(len(pictures.pixels), size=share)].copy()
        for i in range(round(plain * share), share):
            chosen[i] = disturb(chosen[i], rng)
        return reconstruct(to_model(chosen, device))

    shown = held or pictures
    probe = shown.pixels[:: max(1, len(shown.pixels) // 96)][:96]

    def report() -> None:
        restored = decode(vae, encode(vae, probe, device))
        log.info("PSNR %.2f dB%s", psnr(probe, restored).mean(), " of held-out pictures" if held else "")
        sheet(np.concatenate([probe[:24], restored[:24]]), 12, 2).save(work / f"{name}.png")

    trainer.run(loss, batch, report)
    trainer.swap()
    if not decoder_only:
        normalise(vae, encode(vae, pictures.pixels, device))
    if rank() == 0:
        torch.save(vae.state_dict(), work / f"{name}.pt")
    return vae
