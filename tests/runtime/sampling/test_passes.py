"""Passes as one table: what running the plans one after another gives."""

from typing import Any

import numpy as np
import pytest

from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.levels import ModelSchedule
from overpaint.runtime.sampling.passes import join
from overpaint.runtime.sampling.plan import Plan
from overpaint.runtime.sampling.samplers import SAMPLERS

MODEL = ModelSchedule.from_config({"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012})


def walk(plan: Plan, x: Any, draw: Any) -> Any:
    """The loop in float64 with a made-up model."""
    slots = np.zeros((plan.slots, *x.shape))
    slots[0] = x
    for line in range(len(plan)):
        output = np.tanh(slots[0] * plan.scale_in[line]) + plan.timesteps[line] / 1000
        noise = draw() if plan.noisy[line] else np.zeros_like(x)
        slots = np.tensordot(plan.matrix[line], np.stack([*slots, output, noise]), 1)
    return slots[0]


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_joined_plans_are_the_plans_one_after_another(sampler: str) -> None:
    plans = [compile_plan(MODEL, sampler=sampler, steps=10, strength=strength) for strength in (0.8, 0.5, 0.3)]
    clean = np.random.default_rng(0).standard_normal(5)
    rng = np.random.default_rng(1)

    def draw() -> Any:
        return rng.standard_normal(5)

    expected = clean
    for plan in plans:
        expected = walk(plan, plan.start[0] * expected + plan.start[1] * draw(), draw)
    rng = np.random.default_rng(1)
    joined = join(plans)
    assert np.allclose(walk(joined, joined.start[0] * clean + joined.start[1] * draw(), draw), expected)
    assert (joined.brownian == np.concatenate([plan.brownian for plan in plans])).all()
    assert (joined.passes, len(joined)) == (3, sum(map(len, plans)))
    assert joined.steps == sum(plan.steps for plan in plans)


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_the_noised_original_is_as_noisy_as_the_next_line_takes_it(sampler: str) -> None:
    plan = compile_plan(MODEL, sampler=sampler, steps=8)
    clean, noise = plan.noised.T
    assert np.allclose((noise / clean)[:-1], plan.sigmas[1:])
    assert plan.noised[-1] == pytest.approx((1, 0), abs=0.05)


def test_the_table_shows_where_a_pass_begins() -> None:
    plans = [compile_plan(MODEL, sampler="euler", steps=4, strength=0.5) for _ in range(2)]
    assert join(plans).table().count("pass 2") == 1
