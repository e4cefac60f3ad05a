"""diffusers on torch, eager or compiled."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

from benchmarks.peers.work import Loaded, Work


def load(
    checkpoint: Path,
    work: Work,
    *,
    dtype: str = "float32",
    channels_last: bool = False,
    compiled: str = "",
    device: str = "cpu",
) -> Loaded:
    """`compiled` is a mode of torch.compile, "" for eager."""
    kind = getattr(torch, dtype)
    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(checkpoint, torch_dtype=kind).to(device)
    pipe.set_progress_bar_config(disable=True)
    unet, vae = pipe.unet, pipe.vae
    if channels_last:
        unet.to(memory_format=torch.channels_last)
        vae.to(memory_format=torch.channels_last)
    if compiled:
        pipe.unet = unet = torch.compile(unet, mode=compiled)
        vae.encode, vae.decode = (torch.compile(part, mode=compiled) for part in (vae.encode, vae.decode))

    @lru_cache(maxsize=1)
    def encoded(prompt: str) -> dict[str, torch.Tensor]:
        """What its users keep of a prompt that comes again."""
        with torch.no_grad():
            found = pipe.encode_prompt(prompt, device, 1, work.rows > 1)
        return dict(zip(("prompt_embeds", "negative_prompt_embeds"), found, strict=True))

    def paint(
        image: Image.Image, prompt: str, seed: int, steps: int | None = None, strength: float | None = None
    ) -> Image.Image:
        count, share = work.schedule(steps, strength)
        options = {"strength": share, "num_inference_steps": count, "guidance_scale": work.guidance}
        generator = torch.Generator().manual_seed(seed)
        return pipe(image=image, generator=generator, **encoded(prompt), **options).images[0]

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape).to(device, kind)

    side = work.size // pipe.vae_scale_factor
    latents, pixels = drawn(1, unet.config.in_channels, side, side), drawn(1, 3, work.size, work.size)
    conditioning = drawn(work.rows, pipe.tokenizer.model_max_length, unet.config.cross_attention_dim)
    sample, timestep = latents.repeat(work.rows, 1, 1, 1), torch.tensor(500, device=device)
    stages = {
        "unet": torch.no_grad()(lambda: unet(sample, timestep, conditioning, return_dict=False)),
        "encode": torch.no_grad()(lambda: vae.encode(pixels)),
        "decode": torch.no_grad()(lambda: vae.decode(latents)),
    }
    return Loaded(paint, stages, wait=torch.cuda.synchronize if device == "cuda" else None)
