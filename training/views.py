"""Moved, turned and mirrored views of pictures, with their edges and latents: more shapes than there are drawings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image

from overpaint.runtime.imaging.hints import canny

from . import vae
from .data import Pictures

SIZE = 64
# The styles that draw the same outlines, so that the edges of one fit the picture of another.
SIBLINGS = ("flat", "sketch", "ink")


@dataclass(frozen=True)
class Views:
    """Views of pictures, those of a picture one after the other.

    Attributes:
        latents: scaled, float16 [views, 4, 16, 16].
        edges: uint8 [views, 64, 64], 255 on edges.
        first, count: for each picture the place of its first view and how many there are, int64 [pictures].
    """

    latents: NDArray[np.float16]
    edges: NDArray[np.uint8]
    first: NDArray[np.int64]
    count: NDArray[np.int64]

    def save(self, path: Path) -> None:
        np.savez_compressed(
            path, latents=self.latents, edges=np.packbits(self.edges, axis=-1), first=self.first, count=self.count
        )

    @staticmethod
    def load(path: Path) -> Views:
        with np.load(path) as file:
            edges = np.unpackbits(file["edges"], axis=-1) * np.uint8(255)
            return Views(file["latents"], edges, file["first"], file["count"])


def moved(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture [side, side, 3] turned, stretched, sheared, shifted and at times mirrored, on white, at SIZE."""
    side = len(pixels)
    turn = rng.normal(0, 0.25)
    mirror = rng.choice([-1.0, 1.0])
    spread = np.exp(rng.uniform(-0.1, 0.3)) * np.exp(rng.normal(0, 0.12, 2))
    shear = rng.normal(0, 0.12)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = matrix @ np.array([[spread[0] * mirror, shear], [0, spread[1]]])
    middle = np.full(2, side / 2)
    offset = middle - matrix @ (middle + rng.uniform(-0.12, 0.12, 2) * side)
    data = (*matrix[0], offset[0], *matrix[1], offset[1])
    image = Image.fromarray(pixels).transform(
        (side, side), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC, fillcolor=(255, 255, 255)
    )
    return small(np.asarray(image))


def small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture at SIZE, box-filtered."""
    return np.asarray(Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.BOX))


def view(pictures: Pictures, index: int, number: int) -> NDArray[np.uint8]:
    """View `number` of a picture; 0 is the picture itself. The styles of a concept move alike."""
    pixels = pictures.pixels[index]
    if number == 0:
        return small(pixels)
    return moved(pixels, np.random.default_rng((int(pictures.concept[index]), number)))


@torch.no_grad()
def build(pictures: Pictures, autoencoder: AutoencoderKL, count: NDArray[np.int64], device: str = "cpu") -> Views:
    """`count` [pictures] views of each picture."""
    drawn = [view(pictures, index, number) for index in range(len(count)) for number in range(count[index])]
    with torch.autocast(device, torch.bfloat16):
        latents = vae.encode(autoencoder, np.stack(drawn), device) * autoencoder.config.scaling_factor
    edges = np.stack([canny(each) for each in drawn])
    return Views(latents.float().cpu().numpy().astype(np.float16), edges, np.cumsum(count) - count, count)


def siblings(pictures: Pictures) -> list[NDArray[np.int64]]:
    """For each picture those whose edges fit it, itself first and as often as the others together."""
    same = [pictures.styles.index(style) for style in SIBLINGS]
    found = []
    for index, (concept, style) in enumerate(zip(pictures.concept, pictures.style, strict=True)):
        fits = (pictures.concept == concept) & np.isin(pictures.style, same) & (np.arange(len(pictures.style)) != index)
        others = np.flatnonzero(fits) if style in same else np.array([], np.int64)
        found.append(np.concatenate([np.full(max(1, len(others)), index), others]))
    return found
