"""Flow matching under the conventions of A1111 and ComfyUI, against those programs' formulas."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import beta as beta_distribution

from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.flow import FlowSchedule
from overpaint.runtime.sampling.flow_path import OFFSET
from tests.support.flow import CLEAN, FLUX, NOISE, SD3, SHAPES, noises, toy


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
    fresh = np.random.default_rng(4).standard_normal(CLEAN.shape)
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
