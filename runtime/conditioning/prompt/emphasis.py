"""Weights of a prompt's tokens, applied to what the text encoder made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ....bundles.tensor import Array
from ....errors import InputError

Emphasis = Callable[[Array, Array, Callable[[], Array]], Array]


def a1111(z: Array, weights: Array, _empty: Callable[[], Array]) -> Array:
    """z' = z · w · mean(z) / mean(z · w), the means over a chunk: A1111's emphasis "Original".

    `z` is float32 [chunks, length, dim], `weights` float32 [chunks, length]; as is what this returns. Raises
    `InputError` where the weights leave a mean of zero.
    """
    weighted = z * weights[..., None]
    before, after = (array.mean((1, 2), np.float64, keepdims=True) for array in (z, weighted))
    if not after.all():
        raise InputError("these weights leave nothing of the prompt; use others, or the weighting 'comfy'")
    scaled: Array = weighted * (before / after).astype(z.dtype)
    return scaled


def comfy(z: Array, weights: Array, empty: Callable[[], Array]) -> Array:
    """z' = e + (z - e) · w = z + (z - e) · (w - 1), as ComfyUI does it; shapes as in `a1111`.

    e is the empty prompt's, [1, length, dim].
    """
    moved: Array = z + (z - empty()) * (weights[..., None] - 1)
    return moved


WEIGHTINGS: Mapping[str, Emphasis] = {"a1111": a1111, "comfy": comfy}
