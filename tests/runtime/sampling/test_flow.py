"""What must hold of flow matching by itself: strength as a contract, exactness, noise, refusals, facts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from diffusers import FlowMatchEulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from overpaint.errors import InputError
from overpaint.runtime.conventions.convention import CONVENTIONS
from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.flow import FlowSchedule, schedule_from_config
from overpaint.runtime.sampling.flow_path import OFFSET, REFUSED_SAMPLERS, REFUSED_SCHEDULES
from overpaint.runtime.sampling.levels import ModelSchedule
from overpaint.runtime.sampling.names import SCHEDULES, find_sampler
from overpaint.runtime.sampling.plan import Plan
from overpaint.runtime.sampling.samplers import SAMPLERS
from tests.support.flow import CLEAN, FLUX, NOISE, SD3, SHAPES

RUNS = sorted(set(SAMPLERS) - set(REFUSED_SAMPLERS))
STOCHASTIC = ("ddpm", "dpm2_a", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde", "euler_a", "lcm")
DETERMINISTIC = sorted(set(RUNS) - set(STOCHASTIC))


@pytest.mark.parametrize("sampler", RUNS)
@pytest.mark.parametrize("convention", ["contract", "continuous"])
def test_strength_is_a_contract(sampler: str, convention: str) -> None:
    def plan(strength: float) -> Plan:
        return compile_plan(SD3, sampler=sampler, steps=20, strength=strength, convention=convention)

    assert len(plan(0.0)) == 0
    assert plan(0.0).start.tolist() == [1, 0]
    assert plan(1.0).start.tolist() == [0, 1]
    assert plan(1.0).start_sigma == 1.0
    sigmas = [plan(strength).start_sigma for strength in np.arange(1, 21) / 20]
    assert (np.diff(sigmas) > 0).all()
    part = plan(0.35)
    np.testing.assert_allclose(part.start, (1 - part.start_sigma, part.start_sigma))
    assert part.steps == 7
    if convention == "continuous":
        np.testing.assert_allclose(sigmas, np.arange(1, 21) / 20)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("strength", [0.2, 0.5, 0.9, 1.0])
def test_x_at_the_start_is_as_noisy_as_the_model_is_told(convention: str, strength: float) -> None:
    for sampler in ("euler", "dpmpp_2m"):
        plan = compile_plan(SD3, sampler=sampler, steps=10, strength=strength, convention=convention)
        np.testing.assert_allclose(plan.start, (1 - plan.sigmas[0], plan.sigmas[0]), atol=1e-15)
        np.testing.assert_allclose(plan.timesteps, 1000 * plan.sigmas)
        np.testing.assert_array_equal(plan.scale_in, 1.0)


@settings(deadline=None, max_examples=150)
@given(
    sampler=st.sampled_from(DETERMINISTIC),
    schedule=st.sampled_from([None, *SCHEDULES]),
    steps=st.integers(1, 40),
    strength=st.floats(0.03, 1.0),
    convention=st.sampled_from(sorted(CONVENTIONS)),
)
def test_a_straight_way_is_walked_exactly(
    sampler: str, schedule: str | None, steps: int, strength: float, convention: str
) -> None:
    """x + (t' - t) v to rounding, whatever the sampler: a constant velocity leads from the noise to the image."""
    if (sampler, convention) == ("ipndm_v", "comfy"):
        return  # its weights of order 4 do not sum to 1 there
    try:
        plan = compile_plan(
            SD3, sampler=sampler, schedule=schedule, steps=steps, strength=strength, convention=convention
        )
    except InputError as error:
        assert str(error)  # noqa: PT017
        return
    velocity = NOISE.astype(np.float64) - CLEAN
    slots = np.zeros((plan.slots, *CLEAN.shape))
    slots[0] = CLEAN + plan.start_sigma * velocity
    scale = max(float(np.abs(plan.matrix).max()), 1.0) ** 2
    for i in range(len(plan)):
        np.testing.assert_allclose(slots[0], CLEAN + plan.sigmas[i] * velocity, atol=1e-11 * scale)
        denoised = plan.denoised[i, 0] * slots[0] + plan.denoised[i, 1] * velocity
        np.testing.assert_allclose(denoised, CLEAN, atol=1e-11 * scale)
        slots = np.tensordot(plan.matrix[i], np.stack([*slots, velocity, np.zeros_like(velocity)]), axes=1)
    if len(plan):
        end = plan.noised[-1, 1]
        assert end == 0 or convention in ("a1111", "comfy")  # kl_optimal there, and UniPC here, stop short of it
        np.testing.assert_allclose(slots[0], CLEAN + end * velocity, atol=1e-11 * scale)


def test_euler_is_nothing_but_the_step() -> None:
    for sampler in ("euler", "ddim", "dpmpp_2m"):
        plan = compile_plan(SD3, sampler=sampler, steps=1)
        np.testing.assert_allclose(plan.matrix[0, 0, [0, -2]], [1, -1], atol=1e-15)
    plan = compile_plan(SD3, sampler="euler", steps=9)
    np.testing.assert_array_equal(plan.matrix[:, 0, 0], 1.0)
    np.testing.assert_array_equal(plan.matrix[:, 0, 1], np.diff(plan.sigmas, append=0.0))


@pytest.mark.parametrize("sampler", STOCHASTIC)
@pytest.mark.parametrize("convention", ["contract", "continuous", "comfy"])
def test_fresh_noise_keeps_x_as_noisy_as_the_model_is_told(sampler: str, convention: str) -> None:
    """With a model that knows its one image, x is (1 - t) of it and t of unit noise at every evaluation."""
    if (sampler, convention) == ("ddpm", "comfy"):
        return  # refused there
    plan = compile_plan(SD3, sampler=sampler, steps=8, convention=convention)
    draw = np.random.default_rng(5).standard_normal
    count, image = 200_000, 0.7
    slots = np.zeros((plan.slots, count))
    slots[0] = plan.start[0] * image + plan.start[1] * draw(count)
    for i in range(len(plan)):
        t = plan.sigmas[i]
        noise = (slots[0] - (1 - t) * image) / t
        middle = i and plan.step[i] == plan.step[i - 1]
        if not middle and t < 1 - 2 * OFFSET:
            assert noise.mean() == pytest.approx(0.0, abs=0.01)
            assert noise.std() == pytest.approx(1.0, abs=0.01)
        fresh = draw(count) if plan.noisy[i] else np.zeros(count)
        slots = np.tensordot(plan.matrix[i], np.stack([*slots, (slots[0] - image) / t, fresh]), axes=1)
    np.testing.assert_allclose(slots[0], image, atol=1e-9)
    assert plan.noisy.any()


@settings(deadline=None, max_examples=150)
@given(
    sampler=st.sampled_from(sorted(SAMPLERS)),
    schedule=st.sampled_from([None, *SCHEDULES]),
    steps=st.integers(1, 50),
    strength=st.floats(0.0, 1.0),
    convention=st.sampled_from(sorted(CONVENTIONS)),
    facts=st.sampled_from([SD3, FLUX, FlowSchedule(), replace(SD3, shift_terminal=0.02, curve="karras")]),
)
def test_noise_falls_or_the_request_is_refused(
    sampler: str, schedule: str | None, steps: int, strength: float, convention: str, facts: FlowSchedule
) -> None:
    options = {"sampler": sampler, "schedule": schedule, "strength": strength, "convention": convention}
    try:
        plan = compile_plan(facts, steps=steps, latent_shape=SHAPES[1], **options)
    except InputError as error:
        assert str(error)  # noqa: PT017
        return
    begins = np.flatnonzero(np.diff(plan.step, prepend=-1))
    assert (np.diff(plan.sigmas[begins]) < 0).all()
    assert np.isfinite(plan.sigmas).all()
    assert ((plan.timesteps > 0) & (plan.timesteps <= 1000)).all()


def gaussian_error(sampler: str, steps: int) -> float:
    """The error of x on images that are Gaussian, where the flow has a closed form."""
    spread, sigmas = 0.6, np.linspace(0.9, 0.05, steps + 1)
    plan = compile_plan(SD3, sampler=sampler, sigmas=sigmas.tolist())

    def deviation(t: float) -> float:
        return math.hypot((1 - t) * spread, t)

    slots = np.zeros(plan.slots)
    slots[0] = deviation(sigmas[0])
    for i in range(len(plan)):
        t = plan.sigmas[i]
        output = slots[0] * (t - (1 - t) * spread**2) / deviation(t) ** 2
        slots = plan.matrix[i] @ np.array([*slots, output, 0.0])
    return abs(float(slots[0]) - deviation(sigmas[-1]))


@pytest.mark.parametrize(
    ("sampler", "order"),
    [("euler", 1), ("ddim", 1), ("heun", 2), ("dpm2", 2), ("lms", 2), ("dpmpp_2m", 2), ("dpmpp_3m", 2), ("unipc", 2)],
)
def test_order_of_convergence(sampler: str, order: int) -> None:
    rate = math.log2(gaussian_error(sampler, 320) / gaussian_error(sampler, 640))
    assert rate > order - 0.3, rate


@pytest.mark.parametrize("sampler", REFUSED_SAMPLERS)
def test_samplers_without_a_meaning_are_refused(sampler: str) -> None:
    with pytest.raises(InputError, match=rf"{sampler}.*flow-matching model: .*; take '") as caught:
        compile_plan(SD3, sampler=sampler, steps=8)
    assert caught.value.field == "sampler"


@pytest.mark.parametrize("schedule", REFUSED_SCHEDULES)
def test_schedules_without_a_meaning_are_refused(schedule: str) -> None:
    with pytest.raises(InputError, match=rf"{schedule}.*flow matching: .*; take '") as caught:
        compile_plan(SD3, sampler="euler", schedule=schedule, steps=8)
    assert caught.value.field == "schedule"


@pytest.mark.parametrize(
    ("facts", "options", "message"),
    [
        (FLUX, {}, "plan it with the latents' shape"),
        (FLUX, {"convention": "a1111", "latent_shape": SHAPES[0]}, "depends on the size"),
        (replace(FLUX, time_shift_type="linear", base_shift=-3.0), {"latent_shape": SHAPES[0]}, "another size"),
        (SD3, {"sampler": "euler_a", "convention": "a1111"}, "as on betas"),
        (SD3, {"sampler": "ddpm", "convention": "comfy"}, "as on betas"),
        (SD3, {"steps": None, "sigmas": [1.5, 0.5, 0]}, "from 0 to 1"),
        (SD3, {"steps": None, "timesteps": [1000.0, 0.0]}, "must fall"),
        (SD3, {"steps": 1001}, "1 to 1000"),
    ],
)
def test_bad_requests(facts: FlowSchedule, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compile_plan(facts, **({"sampler": "euler", "steps": 8} | options))


def test_a_schedule_may_begin_below_pure_noise() -> None:
    """Then text-to-image begins as if the image were zeros, as ComfyUI's empty latents."""
    plan = compile_plan(SD3, sampler="euler", schedule="ddim_uniform", steps=7)
    assert 0.9 < plan.start_sigma < 1
    assert plan.start.tolist() == [0, plan.start_sigma]


def test_listed_levels() -> None:
    """They are taken as they are: what the model is told, or the share of noise."""
    by_time = compile_plan(SD3, sampler="euler", timesteps=[1000.0, 750.0, 125.5])
    by_sigma = compile_plan(SD3, sampler="euler", sigmas=[1.0, 0.75, 0.1255, 0.0])
    np.testing.assert_allclose(by_time.matrix, by_sigma.matrix)
    np.testing.assert_allclose(by_time.timesteps, by_sigma.timesteps)


def test_facts_come_from_a_scheduler_config() -> None:
    config = dict(FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True, max_shift=0.9).config)
    facts = schedule_from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", **config})
    assert facts == FlowSchedule(shift=3.0, use_dynamic_shifting=True, max_shift=0.9)
    assert schedule_from_config({"kind": "flow", "timestep_spacing": "trailing", "shift": 2.0}).shift == 2.0
    assert isinstance(schedule_from_config({"prediction_type": "velocity"}), FlowSchedule)
    for config in ({}, {"kind": "betas"}, {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear"}):
        assert isinstance(schedule_from_config(config), ModelSchedule)
    with pytest.raises(InputError, match="kind of noise schedule 'flows'"):
        schedule_from_config({"kind": "flows"})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"invert_sigmas": True}, "invert_sigmas is not supported"),
        ({"scale_factors": [0.5, 1]}, "scale_factors is not supported"),
        ({"prediction_type": "epsilon"}, "'velocity', not 'epsilon'"),
        ({"use_karras_sigmas": True, "use_beta_sigmas": True}, "contradict"),
        ({"time_shift_type": "square"}, "time shift type"),
        ({"timestep_spacing": "leading"}, "timestep spacing of flow"),
        ({"curve": "normal"}, "schedule of a flow"),
        ({"shift": 0.0}, "shift above 0"),
        ({"shift": "3"}, "must be a number"),
        ({"num_train_timesteps": 1}, "at least 2"),
        ({"max_image_seq_len": 2.5}, "whole number"),
        ({"shift_terminal": 1.0}, "between 0 and 1"),
        ({"use_dynamic_shifting": True, "max_image_seq_len": 256}, "two lengths"),
    ],
)
def test_facts_that_make_no_schedule(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        schedule_from_config({"kind": "flow", **config})


def test_names_of_diffusers() -> None:
    assert find_sampler("FlowMatchEulerDiscreteScheduler")[0] == "euler"
    assert find_sampler("FlowMatchHeunDiscreteScheduler")[0] == "heun"
    assert find_sampler("FlowMatchLCMScheduler")[0] == "lcm"
