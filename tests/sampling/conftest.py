from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from overpaint.runtime.sampling.plan import Plan

Model = Callable[[np.ndarray, float], np.ndarray]


def run_plan(plan: Plan, model: Model, clean: np.ndarray, noises: Iterator[np.ndarray]) -> np.ndarray:
    """The loop in its plainest form, in float64; `noises` gives the beginning's noise first."""
    slots = np.zeros((plan.slots, *clean.shape))
    slots[0] = plan.start[0] * clean + plan.start[1] * next(noises)
    for i in range(len(plan)):
        output = model(plan.scale_in[i] * slots[0], float(plan.timesteps[i]))
        fresh = next(noises) if plan.noisy[i] else np.zeros_like(clean)
        slots = np.tensordot(plan.matrix[i], np.stack([*slots, output, fresh]), axes=1)
    return slots[0]


@pytest.fixture(name="run_plan")
def _run_plan() -> Callable[..., np.ndarray]:
    return run_plan
