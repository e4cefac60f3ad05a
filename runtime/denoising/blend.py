"""A mask in the model's prediction, where A1111 has it: the clean latents that it predicts, not the noisy ones."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ...bundles.tensor import Array
from ...engines.arrays import namespace_of, to_host
from ..imaging.soft import Soft, adaptive, blended
from ..sampling.plan import Plan
from .state import lincomb


class KeptLatents(Protocol):
    """Keeps what a mask hides in every evaluation of a job."""

    def seen(self, evaluation: int, latents: Array) -> Array:
        """What the model sees, of latents as it takes them."""
        ...

    def output(self, evaluation: int, latents: Array, model: Array) -> Array:
        """The model's output, changed; `latents` are x."""
        ...

    def end(self, latents: Array) -> Array:
        """The resulting latents."""
        ...

    def levels(self, latents: Array) -> Array | None:
        """How much of the result counts, uint8 [height, width]; None where the mask says it."""
        ...


class Blend:
    """Puts the original into every prediction, as A1111's denoiser does (modules/sd_samplers_cfg_denoiser.py).

    `clean` is float32 [channels, height, width], `share` float32 [height, width] on the host, how much is new. With a
    `soft`, A1111's "preservation strength", the share is raised to soft times a power of sigma, and magnitudes are
    blended, too, as `settings` say. Where a sampler works on `timesteps`, the latents that the model sees are blended
    instead, and the timestep stands for sigma (modules/sd_samplers_timesteps.py).
    """

    def __init__(
        self, plan: Plan, clean: Array, share: Array, soft: float = 0.0, settings: Soft | None = None,
        timesteps: bool = False,
    ) -> None:  # fmt: skip
        self._clean = clean
        self._share = namespace_of(clean).asarray(share)
        self._soft = soft
        self._settings = settings or Soft()
        self._before = timesteps
        self._weights = plan.denoised
        # A noise level may be infinite; what is beyond any other keeps all but what changes wholly.
        sigmas = plan.timesteps if timesteps else np.minimum(plan.sigmas, 1e4)
        self._powers = (sigmas**self._settings.bias * soft).astype(np.float32)

    def seen(self, evaluation: int, latents: Array) -> Array:
        """What the model sees on `evaluation`, of latents as it takes them."""
        return self._mixed(evaluation, latents) if self._before else latents

    def output(self, evaluation: int, latents: Array, model: Array) -> Array:
        """The model's output on `evaluation` such that its prediction is blended; `latents` are x."""
        weight = self._weights[evaluation, 1]
        if self._before or not weight:
            return model
        denoised = lincomb(self._weights[evaluation], (latents, model))
        changed: Array = model + (self._mixed(evaluation, denoised) - denoised) / np.float32(weight)
        return changed

    def end(self, latents: Array) -> Array:
        """The resulting latents: the original's where a hard mask keeps them."""
        return latents if self._soft else self._linear(latents)

    def levels(self, latents: Array) -> Array | None:
        """How much of the result counts, uint8 [height, width] of the resulting latents; None of a hard mask."""
        if not self._soft:
            return None
        moved = to_host(latents) - to_host(self._clean)
        distance = np.sqrt((moved * moved).sum(axis=0))
        return adaptive(distance, to_host(self._share), self._soft, self._settings)

    def _mixed(self, evaluation: int, new: Array) -> Array:
        if not self._soft:
            return self._linear(new)
        return blended(self._clean, new, self._share ** self._powers[evaluation], self._settings.boost)

    def _linear(self, new: Array) -> Array:
        mixed: Array = new * self._share + self._clean * (1 - self._share)
        return mixed
