"""Parts of a plan: what follows one another gives the whole, and what is cut off at its end is clean."""

import pickle

import numpy as np
import pytest

from overpaint import InputError
from overpaint.bundles.tensor import Array
from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.levels import ModelSchedule
from overpaint.runtime.sampling.passes import join
from overpaint.runtime.sampling.plan import Plan
from overpaint.runtime.sampling.samplers import SAMPLERS

STEPS = 8
# Samplers that keep nothing from step to step, so that a part goes on exactly where the other has ended.
WITHOUT_HISTORY = ["ddim", "euler", "euler_a", "heun", "dpm2", "dpm2_a", "dpmpp_2s_a", "dpmpp_sde", "lcm", "ddpm"]


def plan_of(sampler: str, **options: object) -> Plan:
    return compile_plan(ModelSchedule(), sampler=sampler, **{"steps": STEPS, **options})  # type: ignore[arg-type]


def run(plan: Plan, x: Array, noises: list[Array]) -> Array:
    """What a plan makes of x with a model that is a fixed function of what it sees."""
    slots = [x, *[np.zeros_like(x)] * (plan.slots - 1)]
    for evaluation in range(len(plan)):
        seen = plan.scale_in[evaluation] * slots[0]
        output = np.tanh(seen + 1e-3 * plan.timesteps[evaluation])
        noise = noises.pop(0) if plan.noisy[evaluation] else output
        slots = [np.tensordot(weights, np.stack([*slots, output, noise]), 1) for weights in plan.matrix[evaluation]]
    return slots[0]


def draws() -> list[Array]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(5) for _ in range(64)]


@pytest.mark.parametrize("sampler", WITHOUT_HISTORY)
@pytest.mark.parametrize("cut", [1, 4, STEPS - 1])
def test_parts_that_follow_one_another_are_the_whole(sampler: str, cut: int) -> None:
    plan, noises = plan_of(sampler), draws()
    start = 10 * noises.pop()
    whole = run(plan, start, list(noises))
    left = list(noises)
    made = run(plan[cut:], run(plan[:cut], start, left), left)
    np.testing.assert_allclose(made, whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("convention", ["contract", "diffusers", "comfy"])
def test_every_sampler_has_parts(sampler: str, convention: str) -> None:
    plan = plan_of(sampler, convention=convention)
    first, second = plan[:3], plan[3:]
    assert first.steps + second.steps == plan.steps
    assert np.array_equal(first.start, plan.start)
    assert np.isfinite(second.start).all()
    assert plan[:] == plan
    assert plan[: plan.steps] == plan


@pytest.mark.parametrize("sampler", ["euler", "ddim", "dpmpp_2m", "heun"])
def test_without_the_noise_left_over_a_part_ends_clean(sampler: str) -> None:
    plan = plan_of(sampler)
    noisy, clean = plan[:4], plan.part(0, 4, leftover_noise=False)
    assert noisy.noised[-1, 1] > 0.1
    assert clean.noised[-1].tolist() == plan.noised[-1].tolist()  # the end of the schedule, which DDIM has not at 0
    if sampler == "ddim":
        return
    # The last step of the others leads straight to what the model takes the picture for.
    np.testing.assert_allclose(clean.matrix[-1, 0, 0], clean.denoised[-1, 0], rtol=1e-9)
    np.testing.assert_allclose(clean.matrix[-1, 0, -2], clean.denoised[-1, 1], rtol=1e-9)


def test_a_part_begins_with_the_noise_of_its_first_step() -> None:
    plan = plan_of("ddim")
    np.testing.assert_allclose(plan[3:].start, plan.noised[2], rtol=1e-9)
    np.testing.assert_allclose(plan_of("euler")[3:].start, [1.0, plan_of("euler").sigmas[3]], rtol=1e-9)


def test_a_strengths_plan_has_parts_of_its_own_steps() -> None:
    plan = plan_of("euler", strength=0.5)
    assert plan[1:3].sigmas.tolist() == plan.sigmas[1:3].tolist()


def test_a_plan_with_its_parts_is_pickled() -> None:
    plan = plan_of("dpmpp_2m")
    assert pickle.loads(pickle.dumps(plan))[2:5] == plan[2:5]


@pytest.mark.parametrize("wrong", [slice(0, 4, 2), slice(3, 3), slice(5, 2), 3])
def test_what_is_no_part_is_refused(wrong: slice) -> None:
    with pytest.raises(InputError, match=r"parts of steps|none of this plan's"):
        plan_of("euler")[wrong]


def test_several_passes_have_no_parts() -> None:
    with pytest.raises(InputError, match="several passes"):
        join([plan_of("euler"), plan_of("euler", strength=0.5)])[1:2]
