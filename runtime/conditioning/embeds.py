"""Numbers as inputs of the denoiser: the guidance that a consistency model takes, and a picture's sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...bundles.tensor import Array


def guidance_embedding(scale: float, width: int) -> Array:
    """The embedding of a guidance scale, float32 [width]: sines and cosines of 1000 (scale - 1).

    Luo et al., "Latent Consistency Models" (arXiv:2310.04378), section 4.3, with the embedding of Variational Diffusion
    Models' code, in the float32 arithmetic that models were trained with. The scale counts as in classifier-free
    guidance, of which 1 is none; the paper's own is one less.
    """
    half = width // 2
    fall = np.log(np.float32(10000.0)) / np.float32(half - 1)
    angles = np.float32((scale - 1) * 1000) * np.exp(np.arange(half, dtype=np.float32) * -fall)
    waves = np.concatenate([np.sin(angles), np.cos(angles)])
    return np.pad(waves, (0, width - len(waves))).astype(np.float32)


def size_ids(names: Sequence[str], numbers: Mapping[str, float]) -> Array:
    """Numbers of a picture in a model's order, float32 [names]."""
    return np.array([numbers[name] for name in names], np.float32)
