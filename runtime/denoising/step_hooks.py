"""What is done to latents between two evaluations: parts of a picture kept as they were, a drift of its colours
undone, a way through pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...bundles.tensor import Array
from ...engines.arrays import namespace_of, to_host
from ..sampling.plan import Plan
from .state import lincomb


class Keep:
    """Puts the original back where it may not mask, as noisy as the latents are, after every evaluation.

    `clean` and `noise` are float32 [channels, height, width], `mask` float32 [height, width] in [0, 1] on the host.
    With `differential` a position is free for its own share of the steps, the last ones: differential diffusion (Levin
    and Fried, arXiv:2306.00950). Otherwise `mask` is how much of the new latents counts: blended diffusion, as
    diffusers' StableDiffusionInpaintPipeline does it with models of 4 channels. With a `soft` that is raised to soft
    times the noise level before the evaluation, as A1111's soft inpainting does: much noise keeps what is nearly kept.
    """

    def __init__(
        self, plan: Plan, clean: Array, noise: Array, mask: Array, differential: bool = False, soft: float = 0.0
    ) -> None:
        self._weights = plan.noised
        self._left = left(plan) if differential else None
        # A noise level may be infinite; what is beyond any other keeps all but what changes wholly.
        self._powers = np.minimum(plan.sigmas, 1e4).astype(np.float32) * np.float32(soft) if soft else None
        self._arrays = clean, noise
        self._change = namespace_of(clean).asarray(mask)

    drift: tuple[float, ...] = ()

    def __call__(self, evaluation: int, latents: Array, denoised: Array, noise: Array | None) -> Array:
        """The latents with the original in its place."""
        kept = lincomb(self._weights[evaluation], self._arrays)
        share = self._share(evaluation)
        merged: Array = latents * share + kept * (1 - share)
        return merged

    def _share(self, evaluation: int) -> Array:
        """How much of the new latents counts after `evaluation`."""
        share: Array = self._change
        if self._left is not None:
            share = (share > self._left[evaluation]).astype(np.float32)
        elif self._powers is not None:
            share = share ** self._powers[evaluation]
        return share


def left(plan: Plan) -> Array:
    """[evaluations] The share of the steps that is still to run after each evaluation, float32."""
    after = np.append(plan.step[1:], plan.steps)
    return np.asarray(1 - after / plan.steps, np.float32)


def ends(plan: Plan) -> set[int]:
    """The last evaluation of each pass."""
    return {int(evaluation) for evaluation in np.flatnonzero(np.diff(plan.pass_index, append=-1))}


class Drift:
    """Measures after every pass how far the means of the latents' channels have moved, and takes the drift out if it
    can.

    `drift` are the root mean squares of the channels' moves, in standard deviations of the original's latents, where
    each pass ended: before the correction. `undrift` gives the clean latents of a pass without the drift of their
    colours, as a difference to add. The channels' own means are no colours: a decoder with group norms draws the same
    white from other latents where the rest of the picture is another, so that moving them back tints it.
    """

    def __init__(self, plan: Plan, clean: Array, undrift: Callable[[Array], Array] | None = None) -> None:
        self._clean = clean
        self._scale = plan.noised[:, 0]
        self._ends = ends(plan)
        self._undrift = undrift
        self._drift: list[Array] = []

    def __call__(self, evaluation: int, latents: Array, denoised: Array, noise: Array | None) -> Array:
        """The latents, at the end of a pass without its drift where that is corrected."""
        if evaluation not in self._ends:
            return latents
        means = [array.mean(axis=(-2, -1), keepdims=True) for array in (denoised, self._clean)]
        spread = self._clean.std(axis=(-2, -1), keepdims=True)
        self._drift.append((means[0] - means[1]) / (spread + np.float32(1e-6)))  # a channel may be flat
        if self._undrift is None:
            return latents
        corrected: Array = latents + np.float32(self._scale[evaluation]) * self._undrift(denoised)
        return corrected

    @property
    def drift(self) -> tuple[float, ...]:
        """The move of each pass that has ended; waits for the device."""
        return tuple(float(np.sqrt((to_host(move) ** 2).mean())) for move in self._drift)


class ThroughPixels:
    """Takes what a pass has made through pixels before the next begins, as a loop over saved pictures does.

    `trip` gives clean latents as the VAE's two halves and 8-bit pixels leave them. The noise of the next pass stays.
    """

    drift: tuple[float, ...] = ()

    def __init__(self, plan: Plan, trip: Callable[[Array], Array]) -> None:
        self._weights = np.stack([plan.noised[:, 0], plan.matrix[:, 0, -1]], axis=1)
        # After the last pass comes the picture; and of a pass that begins with noise alone nothing is left.
        self._ends = {evaluation for evaluation in ends(plan) - {len(plan) - 1} if plan.noised[evaluation, 0]}
        self._trip = trip

    def __call__(self, evaluation: int, latents: Array, denoised: Array, noise: Array | None) -> Array:
        """The latents, at the end of a pass made anew from what its pixels give."""
        if evaluation not in self._ends or noise is None:
            return latents
        clean, share = self._weights[evaluation]
        seen = self._trip((latents - np.float32(share) * noise) / np.float32(clean))
        return lincomb((clean, share), (seen, noise))
