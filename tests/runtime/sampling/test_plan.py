"""The table itself."""

from dataclasses import replace

import numpy as np
import pytest

from overpaint.errors import InputError
from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.levels import ModelSchedule

PLAN = compile_plan(ModelSchedule(), sampler="dpm2_a", steps=3)


def test_lines_steps_and_noise() -> None:
    assert (len(PLAN), PLAN.steps, PLAN.slots) == (5, 3, 2)
    assert PLAN.step.tolist() == [0, 0, 1, 1, 2]
    assert PLAN.noisy.tolist() == [False, True, False, True, False]
    assert PLAN.start_sigma == PLAN.sigmas[0]


def test_a_plan_is_a_value() -> None:
    assert compile_plan(ModelSchedule(), sampler="dpm2_a", steps=3) == PLAN
    assert compile_plan(ModelSchedule(), sampler="dpm2_a", steps=4) != PLAN
    assert PLAN != 3
    with pytest.raises(ValueError, match="read-only"):
        PLAN.sigmas[0] = 1.0


def test_shapes_are_checked() -> None:
    with pytest.raises(InputError, match="timesteps has shape"):
        replace(PLAN, timesteps=np.zeros(3))
    with pytest.raises(InputError, match="infinite"):
        replace(PLAN, matrix=np.full_like(PLAN.matrix, np.nan))


def test_counts_of_one_are_singular() -> None:
    assert "ddim, schedule leading: 1 step, 1 model evaluation\n" in str(
        compile_plan(ModelSchedule(), sampler="ddim", steps=1)
    )


def test_text() -> None:
    text = str(PLAN)
    assert "dpm2_a, schedule linspace: 3 steps, 5 model evaluations" in text
    assert text.count("fresh") == 2
    assert len(PLAN.table().splitlines()) == 6
    assert PLAN.equations(0)[1] == "saved = +1 x"
    assert "saved = +1 x" in PLAN.table(coefficients=True)
