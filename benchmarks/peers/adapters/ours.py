"""overpaint on a bundle; `options` are the arguments of `overpaint.load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import overpaint
from benchmarks.peers.work import Loaded, Work
from overpaint.engines import arrays
from overpaint.runtime.conditioning.conditioning import TEXT
from overpaint.runtime.denoising.rows import Row


def load(bundle: Path, work: Work, **options: Any) -> Loaded:
    pipe = overpaint.load(bundle, **options)

    def paint(
        image: Image.Image, prompt: str, seed: int, steps: int | None = None, strength: float | None = None
    ) -> Image.Image:
        count, share = work.schedule(steps, strength)
        request = {"steps": count, "strength": share, "guidance_scale": work.guidance, "convention": "diffusers"}
        return pipe(image, prompt, seed=seed, **request).images[0]

    facts, device = pipe.bundle.model, pipe.denoiser.engine.device
    side = work.size // facts.downscale
    rng = np.random.default_rng(0)
    latents, pixels, timestep, conditioning = (
        arrays.to_device(array, device)
        for array in (
            rng.standard_normal((facts.latent_channels, side, side)).astype(np.float32),
            rng.uniform(-1, 1, (1, 3, work.size, work.size)).astype(np.float32),
            np.full(1, 500, np.float32),
            pipe.text.encode(work.prompt(0))[0],
        )
    )
    inputs = {"sample": latents, "timestep": timestep, TEXT: conditioning}
    rows = [Row(inputs)] * work.rows
    stages = {
        "unet": lambda: pipe.denoiser(rows),
        # The engine, not `pipe.vae.encode`, which would find the picture in its cache.
        "encode": lambda: pipe.vae.encoder({"pixels": pixels}),
        "decode": lambda: pipe.vae.decode(latents),
    }
    wait = arrays.stream().synchronize if device == "cuda" else None
    return Loaded(paint, stages, remembers=True, wait=wait)
