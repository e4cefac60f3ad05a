"""A mask of noise as ComfyUI has it: around every call of the model the kept part is the original's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...bundles.tensor import Array
from ...engines.arrays import namespace_of
from ..sampling.plan import Plan
from .state import lincomb


class NoiseMask:
    """Gives the model the original, as noisy as x, where the mask is 0, and predicts the original there: the
    `KSamplerX0Inpaint` of ComfyUI (comfy/samplers.py).

    `clean` and `noise` are float32 [channels, height, width], `masks` one float32 [height, width] an evaluation on the
    host, how much is new; `levels_at` float [evaluations, 2] are the weights of (clean, noise) in x before each.
    """

    def __init__(self, plan: Plan, clean: Array, noise: Array, masks: Sequence[Array], levels_at: Array) -> None:
        xp = namespace_of(clean)
        self._arrays = clean, noise
        # Equal ones share memory: a mask that does not change is one array.
        held = {id(mask): xp.asarray(mask) for mask in masks}
        self._masks = [held[id(mask)] for mask in masks]
        self._plan = plan
        self._at = levels_at

    def seen(self, evaluation: int, latents: Array) -> Array:
        """What the model sees: the original outside the mask, scaled as the model takes it."""
        scaled = self._at[evaluation] * self._plan.scale_in[evaluation]
        return self._mixed(evaluation, latents, lincomb(scaled, self._arrays))

    def output(self, evaluation: int, latents: Array, model: Array) -> Array:
        """The model's output such that the prediction from x is that of what the model saw, under the mask."""
        of_x, of_model = self._plan.denoised[evaluation]
        if not of_model:
            return model
        seen = self._mixed(evaluation, latents, lincomb(self._at[evaluation], self._arrays))
        wanted = self._mixed(evaluation, lincomb((of_x, of_model), (seen, model)), self._arrays[0])
        changed: Array = (wanted - np.float32(of_x) * latents) / np.float32(of_model)
        return changed

    def end(self, latents: Array) -> Array:
        """The latents as they are."""
        return latents

    def levels(self, latents: Array) -> Array | None:
        """None: the mask says what counts."""
        return None

    def _mixed(self, evaluation: int, new: Array, kept: Array) -> Array:
        mask = self._masks[evaluation]
        mixed: Array = new * mask + kept * (1 - mask)
        return mixed
