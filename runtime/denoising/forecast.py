"""Outputs of the model that are not computed but forecast: a weighted sum of past ones of the same conditioning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...bundles.tensor import Array
from ...engines.arrays import to_device, to_host
from ..conditioning.conditioning import Conditioning
from ..sampling.caching import LEAD, Caching, computed, draws_between, segments, weights
from ..sampling.plan import Plan
from .state import lincomb
from .steered import Control, Key, Past, Steered, steered

CURVE, HOLD = 3, 1
"""How many past values a forecast goes by: a parabola's, or the last one where each draw of noise bends the curve."""


class Forecast:
    """Which evaluations a plan leaves out, and what they are forecast from.

    Of each conditioning the last outputs that were computed are kept, float32 [channels, height, width]; what they
    come to is a polynomial of the timestep. Where the plan draws noise between evaluations the clean latents are kept
    instead, and held: the output itself follows each draw. A conditioning that was not computed `LEAD` times in this
    part of the plan is computed, and with it the others of its evaluation; one of other `controls` is another.
    """

    def __init__(
        self,
        plan: Plan,
        conditionings: Sequence[Sequence[Conditioning]],
        caching: Caching,
        controls: Sequence[Control] = (),
    ) -> None:
        self._steered = steered(conditionings, controls)
        self._computed = computed(plan, caching)
        self._positions = plan.timesteps
        self._first = np.concatenate([np.full(len(each), each[0]) for each in segments(plan)])
        self._clean = plan.denoised if draws_between(plan) else None
        self._past: dict[Key, list[tuple[int, Array]]] = {}

    def leaves_out(self, evaluation: int) -> bool:
        """Whether an evaluation has no rows."""
        if self._computed[evaluation]:
            return False
        return all(len(self._nodes(evaluation, each)) >= LEAD for each in self._steered[evaluation])

    def keep(self, evaluation: int, latents: Array, outputs: Sequence[Array]) -> None:
        """Remember what the model gave for each conditioning of an evaluation of the `latents` x."""
        for each, output in zip(self._steered[evaluation], outputs, strict=True):
            kept = output.copy() if self._clean is None else lincomb(self._clean[evaluation], (latents, output))
            position = self._positions[evaluation]
            # Heun and its kin evaluate twice at one level.
            past = [node for node in self._nodes(evaluation, each) if self._positions[node[0]] != position]
            self._past[each.key] = [*past[1 - CURVE :], (evaluation, kept)]

    def outputs(self, evaluation: int, latents: Array) -> list[Array]:
        """The model's outputs as they are forecast, of every conditioning of an evaluation."""
        return [self._forecast(evaluation, each, latents) for each in self._steered[evaluation]]

    def _forecast(self, evaluation: int, conditioning: Steered, latents: Array) -> Array:
        nodes = self._nodes(evaluation, conditioning)[-(CURVE if self._clean is None else HOLD) :]
        places = self._positions[[place for place, _ in nodes]]
        value = lincomb(weights(places, self._positions[evaluation]), [array for _, array in nodes])
        if self._clean is None:
            return value
        own, model = self._clean[evaluation]
        return lincomb((1 / model, -own / model), (value, latents))

    def _nodes(self, evaluation: int, conditioning: Steered) -> list[tuple[int, Array]]:
        """The kept values of a conditioning that lie on the curve of an evaluation."""
        return [node for node in self._past.get(conditioning.key, ()) if node[0] >= self._first[evaluation]]

    def snapshot(self) -> Past:
        """The kept values on the host; waits for the device."""
        named = {each.key: each for those in self._steered for each in those}
        return {
            named[key].digest: [(place, to_host(array).copy()) for place, array in past]
            for key, past in self._past.items()
        }

    def resume(self, past: Past, device: str) -> None:
        """Go on from the kept values of another job, of those conditionings that this one has, too."""
        steered = {each.key: each for those in self._steered for each in those}
        own = {each.digest: key for key, each in steered.items()} if past else {}
        self._past = {
            own[name]: [(place, to_device(array, device)) for place, array in values]
            for name, values in past.items()
            if name in own
        }
