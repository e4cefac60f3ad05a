"""Flow matching: the schedule, the samplers on it, and every convention, against diffusers and against formulas."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta as beta_distribution

from overpaint.errors import InputError
from overpaint.runtime.conventions.convention import CONVENTIONS
from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.flow import FlowSchedule, schedule_from_config
from overpaint.runtime.sampling.flow_path import OFFSET, REFUSED_SAMPLERS, REFUSED_SCHEDULES
from overpaint.runtime.sampling.levels import ModelSchedule
from overpaint.runtime.sampling.names import SCHEDULES, find_sampler
from overpaint.runtime.sampling.plan import Plan
from overpaint.runtime.sampling.samplers import SAMPLERS

FLUX = FlowSchedule(shift=3.0, use_dynamic_shifting=True, timestep_spacing="trailing")
SD3 = FlowSchedule(shift=3.0)
RNG = np.random.default_rng(3)
CLEAN, NOISE = RNG.standard_normal((2, 4, 6, 8)).astype(np.float32)
RUNS = sorted(set(SAMPLERS) - set(REFUSED_SAMPLERS))
STOCHASTIC = ("ddpm", "dpm2_a", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde", "euler_a", "lcm")
DETERMINISTIC = sorted(set(RUNS) - set(STOCHASTIC))
SHAPES = [(1, 16, 32, 32), (1, 16, 128, 96)]


def toy(x: np.ndarray, timestep: float) -> np.ndarray:
    """A velocity that depends on all its inputs."""
    return np.tanh(1.3 * x + 0.2) - 0.5 * x * timestep / 1000


def timeless(x: np.ndarray, timestep: float) -> np.ndarray:
    """A velocity of x alone: some schedulers of diffusers tell the model a truncated timestep."""
    return np.tanh(1.3 * x + 0.2) - 0.3 * x


def noises(fresh: np.ndarray | None = None) -> Iterator[np.ndarray]:
    yield NOISE
    yield from itertools.repeat(np.zeros_like(CLEAN) if fresh is None else fresh)


def diffusers_run(scheduler: Any, steps: int, strength: float, model: Callable = toy, **setting: Any) -> np.ndarray:
    """What StableDiffusion3Img2ImgPipeline and FluxImg2ImgPipeline do between their VAE's two ends."""
    scheduler.set_timesteps(**({"num_inference_steps": steps} | setting))
    begin = int(max(steps - min(steps * strength, steps), 0))
    timesteps = scheduler.timesteps[begin * scheduler.order :]
    scheduler.set_begin_index(begin * scheduler.order)
    x = scheduler.scale_noise(torch.from_numpy(CLEAN), timesteps[:1], torch.from_numpy(NOISE))
    for time in timesteps:
        output = torch.from_numpy(model(x.numpy(), float(time)).astype(np.float32))
        x = scheduler.step(output, time, x, return_dict=False)[0]
    return x.numpy()


def flux_setting(steps: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """What FluxPipeline tells its scheduler for latents of a shape."""
    tokens = (shape[-2] // 2) * (shape[-1] // 2)
    sigmas = np.linspace(1.0, 1 / steps, steps)
    return {"num_inference_steps": None, "sigmas": sigmas, "mu": calculate_shift(tokens, 256, 4096, 0.5, 1.15)}


@pytest.mark.parametrize(("scheduler", "sampler"), [("Euler", "euler"), ("Euler", "ddim"), ("Heun", "heun")])
@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 4, 20])
@pytest.mark.parametrize("strength", [1.0, 0.6, 0.33])
def test_diffusers_with_a_fixed_shift(
    scheduler: str, sampler: str, shift: float, steps: int, strength: float, run_plan: Callable[..., np.ndarray]
) -> None:
    kind = {"Euler": FlowMatchEulerDiscreteScheduler, "Heun": FlowMatchHeunDiscreteScheduler}[scheduler]
    theirs = diffusers_run(kind(shift=shift), steps, strength)
    facts = FlowSchedule.from_config(dict(kind(shift=shift).config))
    plan = compile_plan(facts, sampler=sampler, steps=steps, strength=strength, convention="diffusers")
    np.testing.assert_allclose(run_plan(plan, toy, CLEAN, noises()), theirs, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["exponential", "linear"])
@pytest.mark.parametrize(("steps", "strength"), [(1, 1.0), (4, 1.0), (20, 1.0), (20, 0.6), (7, 0.15)])
def test_diffusers_with_dynamic_shifting(
    shape: tuple[int, ...], kind: str, steps: int, strength: float, run_plan: Callable[..., np.ndarray]
) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True, time_shift_type=kind)
    theirs = diffusers_run(scheduler, steps, strength, **flux_setting(steps, shape))
    facts = replace(FLUX, time_shift_type=kind)
    plan = compile_plan(
        facts, sampler="euler", steps=steps, strength=strength, convention="diffusers", latent_shape=shape
    )
    np.testing.assert_allclose(plan.timesteps, scheduler.timesteps[-len(plan) :], rtol=1e-6)
    np.testing.assert_allclose(run_plan(plan, toy, CLEAN, noises()), theirs, atol=2e-5)


@pytest.mark.parametrize("flag", [None, "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"])
@pytest.mark.parametrize("terminal", [None, 0.1])
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("steps", [2, 9, 28])
def test_every_schedule_of_diffusers(flag: str | None, terminal: float | None, dynamic: bool, steps: int) -> None:
    config = {"shift": 2.0, "use_dynamic_shifting": dynamic, "shift_terminal": terminal} | (
        {flag: True} if flag else {}
    )
    scheduler = FlowMatchEulerDiscreteScheduler(**config)
    setting = {"num_inference_steps": steps, **({"mu": calculate_shift(256)} if dynamic else {})}
    scheduler.set_timesteps(**setting)
    facts = FlowSchedule.from_config(dict(scheduler.config))
    plan = compile_plan(facts, sampler="euler", steps=steps, latent_shape=SHAPES[0])
    np.testing.assert_allclose(plan.sigmas, scheduler.sigmas[:-1], rtol=2e-5)
    np.testing.assert_allclose(plan.timesteps, scheduler.timesteps, rtol=2e-5)
    assert plan.schedule == (flag.removeprefix("use_").removesuffix("_sigmas") if flag else "linspace")


def test_stochastic_sampling_is_lcm(run_plan: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = RNG.standard_normal(CLEAN.shape).astype(np.float32)
    name = "diffusers.schedulers.scheduling_flow_match_euler_discrete.randn_tensor"
    monkeypatch.setattr(name, lambda *args, **options: torch.from_numpy(fresh))
    theirs = diffusers_run(FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True), 5, 0.8)
    facts = replace(SD3, stochastic_sampling=True)
    plan = compile_plan(facts, sampler="lcm", steps=5, strength=0.8, convention="diffusers")
    np.testing.assert_allclose(run_plan(plan, toy, CLEAN, noises(fresh)), theirs, atol=2e-5)
    with pytest.raises(InputError, match="that is the sampler 'lcm'"):
        compile_plan(facts, sampler="euler", steps=5, convention="diffusers")


@pytest.mark.parametrize(
    ("sampler", "scheduler", "setting"),
    [
        ("dpmpp_2m", DPMSolverMultistepScheduler, {}),
        ("dpmpp_3m", DPMSolverMultistepScheduler, {"solver_order": 3, "solver_type": "heun"}),
        ("unipc", UniPCMultistepScheduler, {}),
    ],
)
def test_multistep_solvers_are_diffusers(
    sampler: str, scheduler: Any, setting: dict[str, Any], run_plan: Callable[..., np.ndarray]
) -> None:
    """On their own sigmas, which begin below pure noise; they tell the model a truncated timestep."""
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}
    theirs = scheduler(**flow, **setting, final_sigmas_type="zero")
    theirs.set_timesteps(12)
    x = torch.from_numpy(NOISE)
    for time in theirs.timesteps:
        x = theirs.step(torch.from_numpy(timeless(x.numpy(), 0).astype(np.float32)), time, x, return_dict=False)[0]
    plan = compile_plan(SD3, sampler=sampler, sigmas=theirs.sigmas.double().tolist(), convention="diffusers")
    plan = replace(plan, start=np.array([0.0, 1.0]))  # text-to-image: the first sigma is not quite 1
    np.testing.assert_allclose(run_plan(plan, timeless, CLEAN, noises()), x.numpy(), atol=5e-5)


def comfy_table(shift: float, points: int) -> np.ndarray:
    """The table of ModelSamplingDiscreteFlow (1000 points) and of ModelSamplingFlux (10000, shift e^mu)."""
    times = np.arange(1, points + 1) / points
    return shift * times / (1 + (shift - 1) * times)


def simple_sigmas(table: np.ndarray, steps: int) -> list[float]:
    return [float(table[-(1 + int(place * len(table) / steps))]) for place in range(steps)]


@pytest.mark.parametrize(("steps", "strength"), [(20, 1.0), (7, 1.0), (20, 0.6), (9, 0.35), (20, 0.0)])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_comfy_simple_of_a_fixed_shift(steps: int, strength: float, shift: float) -> None:
    plan = compile_plan(FlowSchedule(shift=shift), sampler="euler", steps=steps, strength=strength, convention="comfy")
    whole = int(steps / strength) if strength else 0
    wanted = simple_sigmas(comfy_table(shift, 1000), whole)[-steps:] if whole else []
    np.testing.assert_allclose(plan.sigmas, wanted, rtol=1e-12)
    np.testing.assert_allclose(plan.timesteps, 1000 * plan.sigmas, rtol=1e-12)
    np.testing.assert_allclose(plan.start, (1 - wanted[0], wanted[0]) if whole else (1, 0), atol=1e-15)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("steps", "strength"), [(20, 1.0), (7, 0.6)])
def test_comfy_simple_of_flux(shape: tuple[int, ...], steps: int, strength: float) -> None:
    """The shift is that of its node ModelSamplingFlux, by the pixels."""
    slope = (1.15 - 0.5) / (4096 - 256)
    mu = shape[-2] * 8 * shape[-1] * 8 / (8 * 8 * 2 * 2) * slope + 0.5 - slope * 256
    plan = compile_plan(FLUX, sampler="euler", steps=steps, strength=strength, convention="comfy", latent_shape=shape)
    wanted = simple_sigmas(comfy_table(math.exp(mu), 10_000), int(steps / strength))[-steps:]
    np.testing.assert_allclose(plan.sigmas, wanted, rtol=1e-12)
    assert plan.timesteps[0] == pytest.approx(1000 * wanted[0])


def comfy_schedules(shift: float, steps: int) -> dict[str, list[float] | np.ndarray]:
    """ComfyUI's schedulers by their formulas, without the 0 at the end."""

    def shifted(times: np.ndarray) -> np.ndarray:
        return shift * times / (1 + (shift - 1) * times)

    table = comfy_table(shift, 1000)
    low, ramp = table[0], np.linspace(0, 1, steps)
    places = np.rint(beta_distribution.ppf(1 - np.linspace(0, 1, steps, endpoint=False), 0.6, 0.6) * 999)
    return {
        "simple": simple_sigmas(table, steps),
        "normal": shifted(np.linspace(1.0, low, steps)),
        "sgm_uniform": shifted(np.linspace(1.0, low, steps + 1)[:-1]),
        "karras": (1 + ramp * (low ** (1 / 7) - 1)) ** 7,
        "exponential": np.exp(np.linspace(0, math.log(low), steps)),
        "ddim_uniform": table[1 :: 1000 // steps][::-1],
        "beta": table[places.astype(int)],
        "kl_optimal": np.tan(ramp * math.atan(low) + (1 - ramp) * math.atan(1)),
    }


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [4, 20])
def test_comfy_schedules(shift: float, steps: int) -> None:
    for name, wanted in comfy_schedules(shift, steps).items():
        plan = compile_plan(FlowSchedule(shift=shift), sampler="euler", schedule=name, steps=steps, convention="comfy")
        np.testing.assert_allclose(plan.sigmas, wanted, rtol=1e-9, err_msg=name)


def test_comfy_samplers_step_in_log_sigma(run_plan: Callable[..., np.ndarray]) -> None:
    """ComfyUI runs k-diffusion's DPM++ 2M with t for sigma: lambda = -log t."""
    plan = compile_plan(SD3, sampler="dpmpp_2m", steps=8, convention="comfy")
    sigmas, x, old = [*plan.sigmas, 0.0], NOISE.astype(np.float64), None
    for i, (here, there) in enumerate(itertools.pairwise(sigmas)):
        denoised = x - here * toy(x, 1000 * here)
        mixed = denoised
        if old is not None and there:
            ratio = math.log(sigmas[i - 1] / here) / math.log(here / there)
            mixed = denoised + (denoised - old) / (2 * ratio)
        x, old = there / here * x + (1 - there / here) * mixed, denoised
    np.testing.assert_allclose(run_plan(plan, toy, CLEAN, noises()), x, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_euler_ancestral_is_comfys_for_rectified_flow(eta: float, run_plan: Callable[..., np.ndarray]) -> None:
    fresh = RNG.standard_normal(CLEAN.shape)
    plan = compile_plan(SD3, sampler="euler_a", steps=6, eta=eta, convention="comfy")
    x = NOISE.astype(np.float64)
    for here, there in itertools.pairwise([*plan.sigmas, 0.0]):
        denoised = x - here * toy(x, 1000 * here)
        down = there * (1 + (there / here - 1) * eta)
        keep = (1 - there) / (1 - down)
        x = keep * (down / here * x + (1 - down / here) * denoised) + math.sqrt(there**2 - (down * keep) ** 2) * fresh
    np.testing.assert_allclose(run_plan(plan, toy, CLEAN, noises(fresh)), x, atol=1e-7)


def test_comfy_evaluates_stochastic_solvers_just_below_pure_noise() -> None:
    plan = compile_plan(SD3, sampler="dpmpp_2m_sde", steps=8, convention="comfy")
    assert plan.sigmas[0] == pytest.approx(3 * (1 - OFFSET) / (1 + 2 * (1 - OFFSET)))
    assert plan.start.tolist() == [0, 1]
    assert plan.span[0, 0] == 1.0
    part = compile_plan(SD3, sampler="dpmpp_2m_sde", steps=8, strength=0.5, convention="comfy")
    np.testing.assert_allclose(part.start, (1 - part.sigmas[0], part.sigmas[0]))
    np.testing.assert_array_equal(part.increment[:, 0], part.sigmas)


@pytest.mark.parametrize(("strength", "steps"), [(0.0, 1), (0.04, 1), (0.5, 11), (0.75, 16), (1.0, 20)])
def test_a1111_runs_one_step_more(strength: float, steps: int) -> None:
    """Its schedule of Stable Diffusion 3 is k-diffusion's DiscreteSchedule over the shifted table."""
    plan = compile_plan(SD3, sampler="euler", steps=20, strength=strength, convention="a1111")
    table = comfy_table(3.0, 1000)
    wanted = np.exp(np.interp(np.linspace(999, 0, 20), np.arange(1000), np.log(table)))
    np.testing.assert_allclose(plan.sigmas, wanted[-steps:], rtol=1e-9)
    np.testing.assert_allclose(plan.start, (1 - plan.sigmas[0], plan.sigmas[0]))


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
    with pytest.raises(InputError, match=rf"{sampler}.*flow-matching model: .*; take '"):
        compile_plan(SD3, sampler=sampler, steps=8)


@pytest.mark.parametrize("schedule", REFUSED_SCHEDULES)
def test_schedules_without_a_meaning_are_refused(schedule: str) -> None:
    with pytest.raises(InputError, match=rf"{schedule}.*flow matching: .*; take '"):
        compile_plan(SD3, sampler="euler", schedule=schedule, steps=8)


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
