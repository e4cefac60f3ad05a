from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from overpaint.runtime.sampling.plan import Plan

Model = Callable[[np.ndarray, float], np.ndarray]


class Brownian:
    """Normalised increments of a Brownian motion, made of `noises`: a first one, then longer ones from the same place.

    Stands in for a tree: as `motion` of `run_plan` and, on tensors, as diffusers' noise sampler.
    """

    def __init__(self, noises: Iterator[Any]) -> None:
        self.noises, self.walked = noises, {}

    def __call__(self, sigma: Any, sigma_next: Any) -> Any:
        begin, end = float(sigma), float(sigma_next)
        if begin not in self.walked:
            first = next(self.noises)
            self.walked = {begin: (end, first * math.sqrt(begin - end))}
            return first
        middle, walked = self.walked[begin]
        return (walked + next(self.noises) * math.sqrt(middle - end)) / math.sqrt(begin - end)


def run_plan(
    plan: Plan,
    model: Model,
    clean: np.ndarray,
    noises: Iterator[np.ndarray],
    motion: Callable[[float, float], np.ndarray] | None = None,
) -> np.ndarray:
    """The loop in its plainest form, in float64; `noises` gives the beginning's noise first.

    `motion` gives the noise of Brownian lines, without one it is made of `noises` too.
    """
    motion = motion or Brownian(noises)
    slots = np.zeros((plan.slots, *clean.shape))
    slots[0] = plan.start[0] * clean + plan.start[1] * next(noises)
    for i in range(len(plan)):
        output = model(plan.scale_in[i] * slots[0], float(plan.timesteps[i]))
        if plan.brownian[i]:
            fresh = motion(*plan.increment[i])
        else:
            fresh = next(noises) if plan.noisy[i] else np.zeros_like(clean)
        slots = np.tensordot(plan.matrix[i], np.stack([*slots, output, fresh]), axes=1)
    return slots[0]


@pytest.fixture(name="run_plan")
def _run_plan() -> Callable[..., np.ndarray]:
    return run_plan


@pytest.fixture(name="brownian")
def _brownian() -> type[Brownian]:
    return Brownian
