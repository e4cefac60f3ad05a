"""Weights of a prompt's tokens, applied to what the text encoder made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...engines.base import Array, InputError

Emphasis = Callable[[Any, Array, Array, Callable[[], Array]], Array]


def a1111(xp: Any, z: Array, weights: Array, _empty: Callable[[], Array]) -> Array:
    """z' = z · w · mean(z) / mean(z · w), the means over a chunk: A1111's emphasis "Original".

    `z` is float32 [chunks, length, dim], `weights` float32 [chunks, length]; as is what this returns. Raises
    `InputError` where the weights leave a mean of zero.
    """
    weighted = z * weights[..., None]
    before, after = (xp.mean(array, axis=(1, 2), keepdims=True, dtype=xp.float64) for array in (z, weighted))
    if not xp.all(after):
        raise InputError("these weights leave nothing of the prompt; use others, or the weighting 'comfy'")
    scaled: Array = weighted * (before / after).astype(z.dtype)
    return scaled


def comfy(xp: Any, z: Array, weights: Array, empty: Callable[[], Array]) -> Array:
    """z' = e + (z - e) · w, with e the empty prompt's, [length, dim], as ComfyUI does it; shapes as in `a1111`."""
    e, w = empty(), weights[..., None]
    moved: Array = xp.where(w == 1, z, e + (z - e) * w)
    return moved


WEIGHTINGS: Mapping[str, Emphasis] = {"a1111": a1111, "comfy": comfy}
