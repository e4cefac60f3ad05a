"""Every sampler against the scheduler of diffusers, driven as StableDiffusionImg2ImgPipeline drives it."""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.levels import ModelSchedule

TOLERANCE = 1e-4
# Where sigma is in the thousands diffusers' Euler, which keeps x = clean + sigma * noise in float32, loses the image.
TOLERANCE_OF_FLOAT32 = 1e-3
STEPS = (1, 2, 4, 20, 50)
STRENGTHS = (0.3, 0.75, 1.0)
PREDICTIONS = ("epsilon", "v_prediction", "sample")
FACTS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


class MendedThirdOrder(diffusers.DPMSolverMultistepScheduler):
    """diffusers has phi3 of its third-order SDE as (e^-2h - 1 + 2h) / (2h)^2 + 1/2. It must be - 1/2, as in its own
    third-order ODE and in k-diffusion: phi3 is of order h, or else the update has an error of order 1 in D2."""

    def multistep_dpm_solver_third_order_update(self, outputs, *args, sample, noise, **kwargs):
        x = super().multistep_dpm_solver_third_order_update(outputs, *args, sample=sample, noise=noise, **kwargs)
        sigmas = self.sigmas[self.step_index - 2 : self.step_index + 2]
        oldest, old, here, there = (-torch.log(sigma) for sigma in sigmas)
        r0, r1 = (here - old) / (there - here), (old - oldest) / (there - here)
        m0, m1, m2 = outputs[-1], outputs[-2], outputs[-3]
        bend = ((m0 - m1) / r0 - (m1 - m2) / r1) / (r0 + r1)
        return x + self._sigma_to_alpha_sigma_t(sigmas[-1])[0] * bend


@functools.cache
def scheduler_of(sampler: str, settings: frozenset[tuple[str, Any]]) -> Any:
    """One scheduler for many cases, for some take a quarter of a second to make; set_timesteps clears its state."""
    kind, config = SCHEDULERS[sampler]
    settings = {name: value for name, value in settings if sampler not in SINGLE or name != "steps_offset"}
    return kind(**config | settings)


NOISE = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}

SCHEDULERS: dict[str, tuple[type, dict[str, Any]]] = {
    "ddim": (diffusers.DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False}),
    "ddpm": (diffusers.DDPMScheduler, {"clip_sample": False}),
    "euler": (diffusers.EulerDiscreteScheduler, {}),
    "euler_a": (diffusers.EulerAncestralDiscreteScheduler, {}),
    "heun": (diffusers.HeunDiscreteScheduler, {}),
    "dpm2": (diffusers.KDPM2DiscreteScheduler, {}),
    "dpm2_a": (diffusers.KDPM2AncestralDiscreteScheduler, {}),
    "lms": (diffusers.LMSDiscreteScheduler, {}),
    "dpmpp_sde": (diffusers.DPMSolverSDEScheduler, {}),
    "dpmpp_2m": (diffusers.DPMSolverMultistepScheduler, {}),
    "dpmpp_2m_sde": (diffusers.DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_3m_sde": (
        MendedThirdOrder,
        {"algorithm_type": "sde-dpmsolver++", "solver_order": 3, "solver_type": "heun"},
    ),
    "dpmpp_3m": (diffusers.DPMSolverMultistepScheduler, {"solver_order": 3, "solver_type": "heun"}),
    "dpmpp_2s": (diffusers.DPMSolverSinglestepScheduler, {}),
    "dpmpp_3s": (diffusers.DPMSolverSinglestepScheduler, {"solver_order": 3}),
    "dpmsolver_2m": (diffusers.DPMSolverMultistepScheduler, NOISE),
    "dpmsolver_3m": (diffusers.DPMSolverMultistepScheduler, {**NOISE, "solver_order": 3}),
    "dpmsolver_2s": (diffusers.DPMSolverSinglestepScheduler, NOISE),
    "dpmsolver_3s": (diffusers.DPMSolverSinglestepScheduler, {**NOISE, "solver_order": 3}),
    "deis_1": (diffusers.DEISMultistepScheduler, {"solver_order": 1}),
    "deis": (diffusers.DEISMultistepScheduler, {}),
    "deis_3": (diffusers.DEISMultistepScheduler, {"solver_order": 3}),
    "unipc": (diffusers.UniPCMultistepScheduler, {}),
    "plms": (diffusers.PNDMScheduler, {"skip_prk_steps": True}),
    "pndm": (diffusers.PNDMScheduler, {"skip_prk_steps": False}),
    "lcm": (diffusers.LCMScheduler, {}),
    "tcd": (diffusers.TCDScheduler, {}),
}


SINGLE = ("dpmpp_2s", "dpmpp_3s", "dpmsolver_2s", "dpmsolver_3s")
"""diffusers has no spacing but linspace for them, and no zero terminal SNR."""


def exception(sampler: str, prediction: str, steps: int, strength: float, spacing: str | None = None) -> str | None:
    """Why a case has nothing to be compared with."""
    if int(steps * strength) == 0:
        return "the pipeline raises, so does overpaint"
    if prediction == "sample" and sampler in ("euler_a", "dpm2", "dpm2_a", "dpmpp_sde", "plms", "pndm"):
        return "diffusers raises NotImplementedError"
    if sampler == "pndm" and (steps < 4 or strength < 1):
        return "diffusers needs four steps, and its Runge-Kutta counts from the schedule's beginning wherever it enters"
    whole = ("ddim", "ddpm", "plms", "pndm")
    fraction = ("euler", "euler_a", "heun", "dpm2", "dpm2_a", "lms", "dpmpp_sde")
    takes_linspace = sampler in (*fraction, *whole) if spacing == "linspace" else sampler in fraction and not spacing
    if steps == 1 and takes_linspace:
        return "diffusers' linspace of one point is timestep 0; overpaint starts at the noisiest"
    return None


def unet(x: np.ndarray, timestep: float) -> np.ndarray:
    """A model that is bounded and not linear."""
    return np.tanh(0.6 * x + np.sin(timestep / 150)) + 0.3 * np.cos(2 * x[::-1])


def draws(seed: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    while True:
        yield generator.standard_normal((1, 2, 3, 4))


def reference(
    monkeypatch: pytest.MonkeyPatch,
    scheduler: Any,
    clean: np.ndarray,
    steps: int,
    strength: float,
    leak: bool = False,
    brownian: Callable[..., Any] = iter,
    **options: float,
) -> np.ndarray:
    """Text-to-image at strength 1, unless `leak`; else the image pipeline's steps."""
    noises = map(torch.from_numpy, draws(5))
    own = next(kind for kind in type(scheduler).__mro__ if kind.__module__.startswith("diffusers."))
    module = sys.modules[own.__module__]
    if hasattr(module, "randn_tensor"):
        monkeypatch.setattr(module, "randn_tensor", lambda *args, **kwargs: next(noises))
    scheduler.set_timesteps(steps)
    timesteps, first = scheduler.timesteps, next(noises)
    if strength == 1.0 and not leak:
        if hasattr(scheduler, "set_begin_index"):  # else a schedule with equal timesteps begins at the second of them
            scheduler.set_begin_index(0)
        x = first * float(scheduler.init_noise_sigma)
    else:
        begin = (steps - int(steps * strength)) * scheduler.order
        timesteps = timesteps[begin:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin)
        if isinstance(scheduler, diffusers.PNDMScheduler) and not leak:
            # The second level doubled after the cut; diffusers doubles it before.
            rest = scheduler._timesteps[::-1][begin:].astype(np.int64)
            timesteps = torch.from_numpy(np.concatenate([rest[:2], rest[1:]]))
        x = scheduler.add_noise(torch.from_numpy(clean), first, timesteps[:1])
    if isinstance(scheduler, diffusers.DPMSolverSDEScheduler):
        scheduler.noise_sampler = brownian(noises)
    for i, t in enumerate(timesteps):
        if isinstance(scheduler, diffusers.LMSDiscreteScheduler) and not leak:
            options = {"order": min(i + 1, 4)}
        output = unet(scheduler.scale_model_input(x, t).double().numpy(), float(t))
        x = scheduler.step(torch.from_numpy(output), t, x.double(), return_dict=False, **options)[0]
    return x.double().numpy()


def error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.fixture
def clean() -> np.ndarray:
    return np.random.default_rng(9).standard_normal((1, 2, 3, 4))


@pytest.fixture
def compare(
    monkeypatch: pytest.MonkeyPatch, clean: np.ndarray, run_plan: Callable[..., np.ndarray], brownian: Callable
) -> Callable:
    """Gives the largest relative error over every prediction type, number of steps and strength."""

    def compare(
        sampler: str,
        schedule: str | None = None,
        predictions: tuple[str, ...] = PREDICTIONS,
        convention: str = "contract",
        spacing: str | None = None,
        facts: dict[str, Any] | None = None,
        steps: tuple[int, ...] = STEPS,
        **options: float,
    ) -> float:
        errors = []
        facts = FACTS | (facts or {}) | ({"timestep_spacing": spacing} if spacing else {})
        flags = {f"use_{schedule}_sigmas": True} if schedule else {}
        for prediction, n, strength in itertools.product(predictions, steps, STRENGTHS):
            if exception(sampler, prediction, n, strength, spacing):
                continue
            scheduler = scheduler_of(sampler, frozenset((facts | flags).items()))
            scheduler.register_to_config(prediction_type=prediction)
            if sampler in SINGLE:  # it sets this for good where the order does not divide the steps
                scheduler.register_to_config(lower_order_final=False)
            leak = convention == "diffusers"
            theirs = reference(monkeypatch, scheduler, clean, n, strength, leak, brownian, **options)
            plan = compile_plan(
                ModelSchedule(**facts, prediction_type=prediction),
                sampler=sampler,
                schedule=schedule,
                steps=n,
                strength=strength,
                convention=convention,
                **options,
            )
            ours = run_plan(plan, unet, clean, draws(5))
            # diffusers takes differences of near numbers in float32: sigma_down's squares, DEIS's logarithms.
            slack = 2.0 if (sampler, n) in (("dpm2_a", 2), ("deis_3", 50)) else 1.0
            errors.append(error(ours, theirs) / slack)
        assert errors, "there is no case to compare"
        return float(np.max(errors))  # NaN where one is, and NaN is not below any tolerance

    return compare


@pytest.mark.parametrize("sampler", SCHEDULERS)
def test_default_schedule(sampler: str, compare: Callable[..., float]) -> None:
    assert compare(sampler) < TOLERANCE


@pytest.mark.parametrize("sampler", SCHEDULERS)
def test_diffusers_convention(sampler: str, compare: Callable[..., float]) -> None:
    assert compare(sampler, convention="diffusers") < TOLERANCE


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("sampler", [name for name in SCHEDULERS if name not in ("lcm", "tcd", *SINGLE)])
def test_spacing(sampler: str, spacing: str, compare: Callable[..., float]) -> None:
    assert compare(sampler, spacing=spacing, predictions=("epsilon",)) < TOLERANCE


@pytest.mark.parametrize("schedule", ["karras", "exponential", "beta"])
@pytest.mark.parametrize(
    "sampler",
    ["euler", "heun", "dpm2", "dpm2_a", "lms", "dpmpp_sde", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde", "unipc"],
)
def test_sigma_schedule(sampler: str, schedule: str, compare: Callable[..., float]) -> None:
    """dpmpp_3m_sde lowers its order on "beta", where diffusers' picture is wreckage, but for convention `diffusers`."""
    convention = "diffusers" if (sampler, schedule) == ("dpmpp_3m_sde", "beta") else "contract"
    assert compare(sampler, schedule, predictions=("epsilon", "v_prediction"), convention=convention) < TOLERANCE


NEW = ("dpmpp_3m", "dpmpp_2s", "dpmpp_3s", "dpmsolver_2m", "dpmsolver_3m", "dpmsolver_2s", "dpmsolver_3s")


@pytest.mark.parametrize("schedule", ["karras", "exponential", "beta"])
@pytest.mark.parametrize("sampler", [*NEW, "deis_1", "deis", "deis_3"])
def test_sigma_schedule_of_the_dpm_solvers(sampler: str, schedule: str, compare: Callable[..., float]) -> None:
    """At one step diffusers' DEIS ends where it begins; at no length its third order divides by that.

    dpmpp_3m lowers its order on "beta" as dpmpp_3m_sde does. Between sigmas as near as "beta"'s at 20 steps, diffusers'
    float32 logarithms leave DEIS's third order three digits.
    """
    options = {"steps": (4,) if sampler == "dpmsolver_3m" else (2, 7, 20), "predictions": ("epsilon", "v_prediction")}
    options["convention"] = "diffusers" if sampler == "dpmpp_3m" else "contract"
    tolerance = 5e-3 if (sampler, schedule) == ("deis_3", "beta") else TOLERANCE
    assert compare(sampler, schedule, **options) < tolerance


@pytest.mark.parametrize(("sampler", "eta"), [("ddim", 0.4), ("ddim", 1.0), ("tcd", 0.0), ("tcd", 1.0), ("tcd", 0.15)])
def test_eta(sampler: str, eta: float, compare: Callable[..., float]) -> None:
    assert compare(sampler, eta=eta) < TOLERANCE


ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


# Where sigma is 4096, diffusers' samplers that keep x = clean + sigma * noise lose digits; its PNDM divides by the part
# of the image that is left, and cannot start at none: 2^-24 of it make a difference of 2^-12.
FAR_UP = ("euler", "euler_a", "heun", "dpm2", "lms", "dpmpp_sde", "plms", "pndm")
# Its solvers on predicted noise take a step from there as a difference of numbers thousands of times larger; in float32
# that leaves 1e-5 of many steps, and 4e-3 of a single one to the end.
ON_NOISE = ("dpmsolver_2m", "dpmsolver_3m", "deis_1", "deis", "deis_3")


@pytest.fixture
def rescaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives zero terminal SNR, as diffusers' Euler has it, to the schedulers that lack it."""

    def scheduler(sampler: str, settings: frozenset[tuple[str, Any]]) -> Any:
        kind, config = SCHEDULERS[sampler]
        wanted = config | dict(settings)
        if "rescale_betas_zero_snr" in inspect.signature(kind.__init__).parameters:
            return kind(**wanted)
        del wanted["rescale_betas_zero_snr"]
        made = kind(**wanted)
        made.alphas_cumprod = diffusers.EulerDiscreteScheduler(**FACTS, **ZERO_SNR).alphas_cumprod
        return made

    monkeypatch.setattr(sys.modules[__name__], "scheduler_of", scheduler)


@pytest.mark.usefixtures("rescaled")
@pytest.mark.parametrize("sampler", [name for name in SCHEDULERS if name not in ("dpm2_a", *SINGLE)])
def test_zero_terminal_snr(sampler: str, compare: Callable[..., float]) -> None:
    tolerance = TOLERANCE_OF_FLOAT32 if sampler in FAR_UP + ON_NOISE else TOLERANCE
    slack = 2.0 if sampler == "dpm2" else 5.0 if sampler in ON_NOISE else 1.0  # dpm2 loses them twice a step
    assert compare(sampler, facts=ZERO_SNR, predictions=("v_prediction",)) < tolerance * slack


def test_zero_terminal_snr_of_dpm2_a(run_plan: Callable[..., np.ndarray], clean: np.ndarray) -> None:
    """diffusers' sigma_down is a difference of squares in float32, of which nothing is left at 4096. Against DPM2 from
    the exact one, s_to² / s_from, whose middle in log sigma is s_to."""
    plan = compile_plan(ModelSchedule(**FACTS, **ZERO_SNR, prediction_type="v_prediction"), sampler="dpm2_a", steps=4)
    here, there = plan.sigmas[0], plan.sigmas[2]
    assert here > 4000
    assert plan.sigmas[1] == pytest.approx(there)
    assert plan.matrix[1, 0, -1] == pytest.approx(there * math.sqrt(1 - (there / here) ** 2))
    assert np.isfinite(run_plan(plan, unet, clean, draws(5))).all()


@pytest.mark.usefixtures("rescaled")
@pytest.mark.parametrize("schedule", ["karras", "exponential", "beta"])
@pytest.mark.parametrize("sampler", ["euler", "heun", "lms", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde", "unipc"])
def test_zero_terminal_snr_on_sigma_schedules(sampler: str, schedule: str, compare: Callable[..., float]) -> None:
    tolerance = TOLERANCE_OF_FLOAT32 if sampler in FAR_UP else TOLERANCE
    convention = "diffusers" if sampler == "dpmpp_3m_sde" else "contract"  # its order is lowered on long steps
    options = {"facts": ZERO_SNR, "predictions": ("v_prediction",), "steps": (4, 20)}
    assert compare(sampler, schedule, convention=convention, **options) < tolerance


@pytest.mark.parametrize("sampler", ["ddim", "plms"])
def test_end_at_a_clean_image(sampler: str, compare: Callable[..., float]) -> None:
    assert compare(sampler, facts={"set_alpha_to_one": True}, predictions=("epsilon",)) < TOLERANCE


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde", "unipc"])
def test_end_at_the_lowest_sigma(sampler: str, compare: Callable[..., float]) -> None:
    """The last step is so long that dpmpp_3m_sde lowers its order there, but for convention `diffusers`."""
    convention = "diffusers" if sampler == "dpmpp_3m_sde" else "contract"
    facts = {"final_sigmas_type": "sigma_min"}
    assert compare(sampler, facts=facts, predictions=("epsilon",), convention=convention) < TOLERANCE


@pytest.mark.parametrize("schedule", ["karras", "exponential", "beta"])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "dpmpp_2m_sde", "unipc"])
def test_last_step_of_no_length(sampler: str, schedule: str, compare: Callable[..., float]) -> None:
    facts = {"final_sigmas_type": "sigma_min"}
    assert compare(sampler, schedule, facts=facts, predictions=("epsilon",), steps=(2, 5, 20)) < TOLERANCE


@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpmpp_2m", "plms"])
@pytest.mark.parametrize(
    "betas",
    [
        {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"trained_betas": tuple(np.linspace(0.001, 0.01, 1000).tolist())},
    ],
    ids=["linear", "cosine", "trained"],
)
def test_other_betas(sampler: str, betas: dict[str, Any], compare: Callable[..., float]) -> None:
    tolerance = TOLERANCE_OF_FLOAT32 if sampler == "euler" and "beta_schedule" in betas else TOLERANCE
    assert compare(sampler, facts=betas, predictions=("v_prediction",), steps=(4, 20)) < tolerance


def test_listed_sigmas(clean: np.ndarray, run_plan: Callable[..., np.ndarray]) -> None:
    sigmas = [9.0, 4.0, 1.5, 0.3, 0.0]
    scheduler = scheduler_of("euler", frozenset(FACTS.items()))
    scheduler.register_to_config(prediction_type="epsilon")
    scheduler.set_timesteps(sigmas=sigmas)
    x = torch.from_numpy(next(draws(5))) * float(scheduler.init_noise_sigma)
    for t in scheduler.timesteps:
        output = unet(scheduler.scale_model_input(x, t).double().numpy(), float(t))
        x = scheduler.step(torch.from_numpy(output), t, x, return_dict=False)[0]
    plan = compile_plan(ModelSchedule(), sampler="euler", sigmas=sigmas)
    assert error(run_plan(plan, unet, clean, draws(5)), x.double().numpy()) < TOLERANCE
