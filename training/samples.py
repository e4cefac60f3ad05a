"""A sheet of what a checkpoint draws, to look at while it trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image

from .data import Pictures, sheet

SHOWN = ("fox", "pizza", "rocket")


def quiet(pipeline: StableDiffusionPipeline) -> StableDiffusionPipeline:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def write_sheet(checkpoint: Path, pictures: Pictures, path: Path, steps: int = 15, guidance: float = 3.0) -> None:
    """Left half: each shown concept in each style from noise. Right half: the first style's picture repainted."""
    draw = quiet(StableDiffusionPipeline.from_pretrained(checkpoint, torch_dtype=torch.float32))
    repaint = quiet(StableDiffusionImg2ImgPipeline(**draw.components, requires_safety_checker=False))
    size = pictures.pixels.shape[1]
    rows: list[NDArray[np.uint8]] = []
    for name in SHOWN:
        first = int(np.flatnonzero(pictures.concept == pictures.names.index(name))[0])
        captions = [f"{name}, {style} style" for style in pictures.styles]
        options = {"guidance_scale": guidance, "generator": torch.manual_seed(0)}
        drawn = draw(captions, height=size, width=size, num_inference_steps=steps, **options).images
        inputs = [Image.fromarray(pictures.pixels[first])] * len(captions)
        options["generator"] = torch.manual_seed(0)
        repainted = repaint(captions, inputs, strength=0.6, num_inference_steps=steps, **options).images
        rows += [np.asarray(image) for image in (*drawn, inputs[0], *repainted)]
    sheet(np.stack(rows), 2 * len(pictures.styles) + 1).save(path)
