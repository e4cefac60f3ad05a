"""Flow matching against diffusers: its two schedulers, its image-to-image pipelines, its multistep solvers."""

from __future__ import annotations

from collections.abc import Callable
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

from overpaint.errors import InputError
from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.flow import FlowSchedule
from tests.support.flow import CLEAN, FLUX, NOISE, SD3, SHAPES, noises, timeless, toy


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


@pytest.mark.parametrize(("strength", "steps"), [(0.0, 0), (1e-20, 1), (0.04, 1), (0.3, 6), (0.33, 7), (1.0, 20)])
def test_steps_are_rounded_up(strength: float, steps: int) -> None:
    plan = compile_plan(SD3, sampler="euler", steps=20, strength=strength, convention="diffusers")
    assert len(plan) == steps


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
    fresh = np.random.default_rng(4).standard_normal(CLEAN.shape).astype(np.float32)
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
