"""stable-diffusion.cpp through stable-diffusion-cpp-python. It knows the shapes of 1.5, and its own tokenizer, only."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image
from stable_diffusion_cpp import StableDiffusion

from benchmarks.peers.work import Loaded, Work

FILE = "model.safetensors"


def load(folder: Path, work: Work, *, weights: str) -> Loaded:
    """Neither with flash attention nor with direct convolutions: together they make a step 2.6 times as long here."""
    model = StableDiffusion(
        model_path=str(folder / FILE),
        wtype=weights,
        vae_decode_only=False,
        rng_type="cpu",
        n_threads=len(os.sched_getaffinity(0)),
        verbose=False,
    )

    def paint(
        image: Image.Image, prompt: str, seed: int, steps: int | None = None, strength: float | None = None
    ) -> Image.Image:
        count, share = work.schedule(steps, strength)
        return model.generate_image(
            prompt,
            init_image=image,
            width=work.size,
            height=work.size,
            cfg_scale=work.guidance,
            sample_method="ddim_trailing",
            sample_steps=count,
            # It runs int(steps * strength) + 1 steps.
            strength=(int(count * share) - 0.5) / count,
            seed=seed,
        )[0]

    return Loaded(paint)
