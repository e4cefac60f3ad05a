"""What the shipped model can do, measured: reconstruction, text-to-image, style transfer, the strength's effect.

Run from the repository root: ``python -m benchmarks.quality --work DIR [--write]``; DIR holds `pictures.npz` of
``python -m training.run``. A generated picture is judged by its nearest training picture, by distance of VAE latents.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data import Pictures, caption

Pixels = NDArray[np.uint8]
# (input pictures [n, h, w, 3], prompts, strength, seeds) -> pictures [n, h, w, 3]
Generate = Callable[[Pixels, Sequence[str], float, Sequence[int]], Pixels]
Encode = Callable[[Pixels], NDArray[np.float32]]  # pictures -> latents [n, ...]

RESULTS = Path(__file__).with_name("RESULTS.md")
SECTION = re.compile(r"(<!-- quality -->\n).*?(<!-- /quality -->)", re.DOTALL)
STRENGTHS = tuple(round(0.1 * i, 1) for i in range(1, 11))


@dataclass(frozen=True)
class Judge:
    """Names the nearest training picture."""

    pictures: Pictures
    encode: Encode
    latents: NDArray[np.float32]

    @staticmethod
    def of(pictures: Pictures, encode: Encode) -> Judge:
        return Judge(pictures, encode, encode(pictures.pixels).reshape(len(pictures.pixels), -1))

    def __call__(self, pixels: Pixels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Concept and style of the training picture nearest to each of `pixels` [n, h, w, 3]."""
        found = self.encode(pixels).reshape(len(pixels), -1)
        # |a - b|² without the cross array's memory; |found|² is the same for every candidate.
        distance = (self.latents**2).sum(1) - 2 * found @ self.latents.T
        nearest = distance.argmin(1)
        return self.pictures.concept[nearest], self.pictures.style[nearest]


def psnr(a: Pixels, b: Pixels) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio in dB of each picture, [n]."""
    error = ((a.astype(np.float64) - b) ** 2).mean((1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(error, 1e-9))


def prompts(pictures: Pictures, concept: NDArray[np.int64], style: NDArray[np.int64]) -> list[str]:
    return [caption(pictures.names[c], pictures.styles[s]) for c, s in zip(concept, style, strict=True)]


def text_to_image(judge: Judge, generate: Generate, count: int, seed: int = 0) -> tuple[float, float]:
    """Parts of `count` random captions, drawn at strength 1, whose nearest picture has the right concept, style."""
    pictures = judge.pictures
    index = np.random.default_rng(seed).choice(len(pictures.pixels), count, replace=False)
    concept, style = pictures.concept[index], pictures.style[index]
    blank = np.full((count, *pictures.pixels.shape[1:]), 128, np.uint8)
    made = judge(generate(blank, prompts(pictures, concept, style), 1.0, range(count)))
    return float((made[0] == concept).mean()), float((made[1] == style).mean())


def style_transfer(
    judge: Judge, generate: Generate, count: int, strength: float = 0.6, seed: int = 1
) -> tuple[float, float]:
    """Parts of `count` random pictures, asked for in another style, whose nearest picture keeps concept, has the style."""
    pictures = judge.pictures
    rng = np.random.default_rng(seed)
    index = rng.choice(len(pictures.pixels), count, replace=False)
    concept = pictures.concept[index]
    style = (pictures.style[index] + rng.integers(1, len(pictures.styles), count)) % len(pictures.styles)
    made = judge(generate(pictures.pixels[index], prompts(pictures, concept, style), strength, range(count)))
    return float((made[0] == concept).mean()), float((made[1] == style).mean())


def similarity(pictures: Pictures, generate: Generate, count: int, seed: int = 2) -> list[float]:
    """Mean PSNR (dB) of output to input at each of STRENGTHS, repainting pictures in another style."""
    rng = np.random.default_rng(seed)
    index = rng.choice(len(pictures.pixels), count, replace=False)
    style = (pictures.style[index] + rng.integers(1, len(pictures.styles), count)) % len(pictures.styles)
    asked = prompts(pictures, pictures.concept[index], style)
    inputs = pictures.pixels[index]
    return [float(psnr(inputs, generate(inputs, asked, s, range(count))).mean()) for s in STRENGTHS]
