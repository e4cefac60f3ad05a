"""What strength means, by each convention."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overpaint.errors import InputError
from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.levels import ModelSchedule
from overpaint.runtime.sampling.plan import Plan
from overpaint.runtime.sampling.samplers import SAMPLERS
from overpaint.runtime.sampling.strength import CONVENTIONS

SD = ModelSchedule()


def plan(sampler: str = "euler", steps: int = 20, **options: object) -> Plan:
    return compile_plan(SD, sampler=sampler, steps=steps, **options)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("convention", [name for name in CONVENTIONS if name != "a1111"])
def test_strength_0_runs_nothing(sampler: str, convention: str) -> None:
    empty = plan(sampler, strength=0.0, convention=convention)
    assert len(empty) == empty.steps == 0
    assert empty.start.tolist() == [1, 0]
    assert empty.start_sigma == 0
    assert empty.matrix.shape == (0, 1, 3)
    assert "0 model evaluations" in str(empty)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("convention", ["contract", "continuous"])
def test_strength_1_is_text_to_image(sampler: str, convention: str) -> None:
    full = plan(sampler, convention=convention)
    assert full == plan(sampler)
    assert full.steps == 20
    assert full.start[0] == 0
    assert full.start[1] == (full.start_sigma if SAMPLERS[sampler].ve else 1)


def test_pure_noise_on_leading_spacing_has_the_images_variance_too() -> None:
    full = plan(schedule="leading")
    assert full.start.tolist() == [0, pytest.approx(math.hypot(1, full.start_sigma))]
    facts = ModelSchedule(timestep_spacing="leading")
    full = compile_plan(facts, sampler="euler", schedule="karras", steps=20)
    assert full.start[1] == pytest.approx(math.hypot(1, full.start_sigma))


@pytest.mark.parametrize("strength", [0.05, 0.3, 0.55, 0.99])
def test_contract_runs_the_last_steps(strength: float) -> None:
    part = plan(strength=strength)
    assert part.steps == int(20 * strength)
    np.testing.assert_array_equal(part.sigmas, plan().sigmas[20 - part.steps :])
    np.testing.assert_array_equal(part.start, [1, part.start_sigma])
    vp = plan("ddim", strength=strength)
    np.testing.assert_allclose(vp.start, [1 / math.hypot(1, vp.start_sigma), np.sin(np.arctan(vp.start_sigma))])


def test_less_than_a_step_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(InputError, match=r"at least 10 steps.*continuous"):
        plan(steps=4, strength=0.1)
    with pytest.raises(InputError, match="one step; ask for the convention 'continuous'"):
        plan(strength=1e-320)
    assert len(plan(steps=10, strength=0.1)) == 1
    assert len(plan(steps=4, strength=0.1, convention="continuous")) == 1


def test_diffusers_leaks_at_strength_1() -> None:
    np.testing.assert_array_equal(plan(convention="diffusers").start, [1, plan().start_sigma])
    np.testing.assert_allclose(plan("ddim", convention="diffusers").start, np.sqrt([SD.abar[951], 1 - SD.abar[951]]))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_diffusers_inpaints_at_strength_1_from_noise(sampler: str) -> None:
    ours = plan(sampler, convention="diffusers", inpaints=True)
    assert ours.start.tolist() == plan(sampler).start.tolist()
    part = {"convention": "diffusers", "strength": 0.5}
    assert plan(sampler, inpaints=True, **part) == plan(sampler, **part)


@pytest.mark.parametrize(("strength", "steps"), [(0.0, 1), (0.04, 1), (0.5, 11), (0.75, 16), (1.0, 20)])
def test_a1111_runs_one_step_more(strength: float, steps: int) -> None:
    part = plan(strength=strength, convention="a1111")
    assert part.steps == steps
    np.testing.assert_allclose(part.sigmas, plan().sigmas[-steps:], rtol=2e-5)
    np.testing.assert_array_equal(part.start, [1, part.start_sigma])


@pytest.mark.parametrize(("strength", "whole"), [(0.3, 66), (0.5, 40), (0.75, 26), (0.99995, 20)])
def test_comfy_runs_all_steps_on_a_longer_schedule(strength: float, whole: int) -> None:
    part = plan("dpmpp_2m", schedule="karras", strength=strength, convention="comfy")
    assert part.steps == 20
    np.testing.assert_array_equal(part.sigmas, plan("dpmpp_2m", whole, schedule="karras").sigmas[-20:])


def test_comfy_scales_the_noise_at_the_top() -> None:
    top = plan(schedule="karras", convention="comfy")
    np.testing.assert_allclose(top.start, [1, math.hypot(1, top.start_sigma)])
    below = plan(schedule="karras", convention="comfy", strength=0.5)
    np.testing.assert_allclose(below.start, [1, below.start_sigma])
    for tiny in (0.01, 1e-320):
        with pytest.raises(InputError, match="000 steps"):
            plan(convention="comfy", strength=tiny)


@pytest.mark.parametrize(
    ("sampler", "steps", "strength", "mend"),
    [
        ("euler", 20, 0.01, "the 1000 steps that can be; ask for a strength of at least 0.02, or for at most 10 steps"),
        ("tcd", 8, 0.1, "the 50 steps that can be; ask for a strength of at least 0.16, or for at most 5 steps"),
        ("euler", 7, 0.001, "at least 0.007, or for at most 1 step$"),
        ("euler", 20, 0.0005, "a strength of at least 0.02$"),
    ],
)
def test_comfy_names_the_strength_and_what_to_do(sampler: str, steps: int, strength: float, mend: str) -> None:
    with pytest.raises(InputError, match=rf"^strength {strength:g} of {steps} steps .*{mend}"):
        plan(sampler, steps, convention="comfy", strength=strength)
    least = float(re.search(r"at least ([\d.]+)", mend)[1])
    assert plan(sampler, steps, convention="comfy", strength=least).steps == steps
    if fewer := re.search(r"at most (\d+)", mend):
        assert plan(sampler, int(fewer[1]), convention="comfy", strength=strength).steps == int(fewer[1])


def test_comfy_says_where_the_steps_themselves_are_too_many() -> None:
    with pytest.raises(InputError, match=r"^60 steps are more than the 50"):
        plan("tcd", 60, convention="comfy", strength=0.5)


@settings(deadline=None, max_examples=80)
@given(
    sampler=st.sampled_from(sorted(SAMPLERS)),
    steps=st.integers(1, 40),
    low=st.floats(0.01, 0.99),
    high=st.floats(0.01, 0.99),
)
def test_continuous_begins_where_the_strength_says(sampler: str, steps: int, low: float, high: float) -> None:
    low, high = sorted((low, high))
    below, above = (plan(sampler, steps, strength=s, convention="continuous") for s in (low, high))
    assert below.start_sigma == pytest.approx(float(SD.sigmas_at(low * 999)))
    assert below.start_sigma <= above.start_sigma
    assert below.timesteps[0] == pytest.approx(low * 999, abs=1e-3)
    assert above.steps == max(1, math.ceil(steps * high))
    assert below.start[0] > 0


def test_continuous_keeps_the_shape_of_the_schedule() -> None:
    """Half of a curve that is even in arctan(sigma) is even there too."""
    part = plan("dpmpp_2m", 10, schedule="kl_optimal", strength=0.5, convention="continuous")
    assert np.ptp(np.diff(np.arctan(part.sigmas))[:-1]) < 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 1.1}, "from 0 to 1"),
        ({"strength": float("nan")}, "from 0 to 1"),
        ({"steps": 0}, "1 to 1000"),
        ({"steps": 1001}, "1 to 1000"),
        ({"steps": 2.5}, "whole number"),
        ({"convention": "contrat"}, "'contract'"),
        ({"sampler": "eulr"}, "'euler'"),
        ({"schedule": "karas"}, "'karras'"),
        ({"sampler": "ddim", "eta": 1.5}, "eta"),
        ({"sampler": "ddim", "eta": float("nan")}, "eta"),
        ({"sampler": "ddim", "eta": "half"}, "eta is 'half'; it must be a number"),
        ({"eta": 0.0}, "takes no eta"),
        ({"strength": "half"}, "strength is 'half'; it must be a number"),
        ({"steps": None}, "one of steps"),
        ({"timesteps": [3, 2]}, "one of steps"),
        ({"steps": None, "timesteps": [3, 2], "schedule": "karras"}, "name no other"),
        ({"steps": None, "timesteps": [3, 2], "convention": "comfy"}, "comfy"),
    ],
)
def test_bad_requests(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compile_plan(SD, **{"sampler": "euler", "steps": 20} | options)


def test_listed_sigmas_take_a_strength() -> None:
    part = compile_plan(SD, sampler="euler", sigmas=[8, 4, 2, 1, 0], strength=0.5)
    np.testing.assert_allclose(part.sigmas, [2, 1])
