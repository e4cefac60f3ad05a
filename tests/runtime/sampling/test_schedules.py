"""Schedules against their sources."""

from __future__ import annotations

import numpy as np
import pytest
from diffusers import DDIMScheduler
from diffusers.schedulers.scheduling_utils import AysSchedules
from scipy.stats import beta as beta_distribution

from overpaint.errors import InputError
from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.levels import Level, ModelSchedule
from overpaint.runtime.sampling.schedules import SIGMA_SCHEDULES, beta_quantile, distilled, spaced

SD = ModelSchedule()
HIGH, LOW = float(SD.sigmas[-1]), float(SD.sigmas[0])


def sigmas(name: str, steps: int) -> np.ndarray:
    return SIGMA_SCHEDULES[name](SD, steps, HIGH, LOW)


@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize(
    "betas",
    [
        {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"},
        {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"},
        {"beta_schedule": "squaredcos_cap_v2"},
    ],
    ids=["scaled", "linear", "cosine"],
)
def test_trained_levels_are_those_of_diffusers(betas: dict[str, float | str], zero_snr: bool) -> None:
    theirs = DDIMScheduler(**betas, rescale_betas_zero_snr=zero_snr).alphas_cumprod.double().numpy()
    ours = ModelSchedule.from_config(betas | {"rescale_betas_zero_snr": zero_snr}).abar
    # Rescaling subtracts square roots of up to 1 in float32, whose rounding stays where little is left.
    np.testing.assert_allclose(ours, theirs, rtol=3e-5 if zero_snr else 1e-6, atol=5e-11 if zero_snr else 1e-12)
    assert not zero_snr or ours[-1] == 0.0


def test_facts_come_from_a_scheduler_config() -> None:
    facts = ModelSchedule.from_config({"_class_name": "PNDMScheduler", "steps_offset": 1, "trained_betas": None})
    assert (facts.beta_schedule, facts.beta_end) == ("linear", 0.02)
    assert (facts.set_alpha_to_one, facts.steps_offset) == (None, 1)
    listed = ModelSchedule.from_config({"num_train_timesteps": 2, "trained_betas": [0.1, 0.2]})
    assert listed.abar[1] == pytest.approx(0.72)


@pytest.mark.parametrize(
    "facts",
    [
        {"beta_schedule": "cubic"},
        {"prediction_type": "flow"},
        {"timestep_spacing": "even"},
        {"final_sigmas_type": "one"},
        {"trained_betas": (0.1, 0.2)},
        {"beta_start": -1.0, "beta_schedule": "linear"},
        {"num_train_timesteps": 1},
    ],
)
def test_facts_that_make_no_schedule(facts: dict) -> None:
    with pytest.raises(InputError):
        ModelSchedule(**facts)


def test_levels() -> None:
    level = Level.of_ve(3.0)
    assert level.alpha**2 + level.sigma**2 == pytest.approx(1)
    assert level.ve == pytest.approx(3)
    assert np.exp(-level.log_snr) == pytest.approx(3)
    assert Level.of_abar(0.0).ve == np.inf
    assert Level.of_abar(1.0).log_snr == np.inf
    np.testing.assert_allclose(SD.sigmas_at(SD.time_of(np.array([0.1, 1.0, 9.0]))), [0.1, 1.0, 9.0])


def test_beta_quantiles_are_scipys() -> None:
    levels = np.concatenate([np.linspace(0, 1, 101), [1e-6, 1e-3, 1 - 1e-3]])
    np.testing.assert_allclose(beta_quantile(levels, 0.6), beta_distribution.ppf(levels, 0.6, 0.6), atol=1e-13)


@pytest.mark.parametrize("name", SIGMA_SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 20, 50, 999])
def test_every_schedule_falls_from_most_noise(name: str, steps: int) -> None:
    levels = sigmas(name, steps)
    assert levels.shape == (steps,)
    assert (np.diff(levels) < 0).all()
    assert levels[-1] > 0
    if name != "ddim_uniform":
        assert levels[0] == pytest.approx(HIGH, rel=1e-4)


def test_karras_and_exponential_are_evenly_spaced_in_their_own_terms() -> None:
    np.testing.assert_allclose(np.diff(sigmas("karras", 9) ** (1 / 7), 2), 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(np.log(sigmas("exponential", 9)), 2), 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(np.arctan(sigmas("kl_optimal", 9)), 2), 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(SD.time_of(sigmas("normal", 10))), -111, atol=1e-6)
    np.testing.assert_allclose(np.diff(SD.time_of(sigmas("sgm_uniform", 10))), -99.9, atol=1e-6)
    np.testing.assert_allclose(sigmas("polyexponential", 9), sigmas("exponential", 9))


def test_comfy_schedules_take_trained_sigmas() -> None:
    """The indices that ComfyUI's simple_scheduler and ddim_scheduler take, by their loops."""
    np.testing.assert_array_equal(sigmas("simple", 7), [SD.sigmas[-(1 + int(i * (1000 / 7)))] for i in range(7)])
    np.testing.assert_array_equal(sigmas("ddim_uniform", 20), SD.sigmas[1::50][::-1])
    np.testing.assert_array_equal(sigmas("ddim_uniform", 7), SD.sigmas[1::142][::-1][1:])


def test_align_your_steps_is_nvidias_table() -> None:
    np.testing.assert_allclose(sigmas("align_your_steps", 10), AysSchedules["StableDiffusionSigmas"][:-1])
    np.testing.assert_allclose(sigmas("align_your_steps_xl", 10), AysSchedules["StableDiffusionXLSigmas"][:-1])
    twice = sigmas("align_your_steps", 20)
    np.testing.assert_allclose(twice[::2], sigmas("align_your_steps", 10))
    np.testing.assert_allclose(twice[1], np.sqrt(twice[0] * twice[2]))


def test_one_step_begins_with_most_noise() -> None:
    assert spaced(SD, "linspace", 1, "fraction") == [999]
    assert spaced(SD, "linspace", 1, "open") == [999]
    assert spaced(SD, "trailing", 1, "whole") == [999]
    assert spaced(SD, "leading", 1, "whole") == [1]


def test_steps_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="fewer steps"):
        spaced(SD, "leading", 1000, "whole")
    with pytest.raises(InputError, match="50"):
        distilled(SD, 51)


def test_trailing_has_as_many_steps_as_asked() -> None:
    assert all(len(spaced(SD, "trailing", steps, "whole")) == steps for steps in range(1, 1001))


def test_listed_timesteps() -> None:
    plan = compile_plan(SD, sampler="ddim", timesteps=[999, 499.5, 10])
    np.testing.assert_array_equal(plan.timesteps, [999, 499.5, 10])
    assert plan.schedule == "timesteps"
    for bad in ([], [1, 2], [1000], [-1], [float("nan")], [[1.0]]):
        with pytest.raises(InputError, match="timesteps"):
            compile_plan(SD, sampler="ddim", timesteps=bad)
    for bad in ([1.0], [1.0, 2.0], [1.0, -1.0], [float("inf"), 0.0]):
        with pytest.raises(InputError, match="sigmas"):
            compile_plan(SD, sampler="euler", sigmas=bad)
