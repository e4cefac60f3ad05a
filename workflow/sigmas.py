"""Sigmas as ComfyUI's schedulers and samplers lay them out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..bundles.tensor import Array
from ..errors import InputError
from ..runtime.conventions.convention import COMFY
from ..runtime.model.model import Model
from ..runtime.sampling.flow import FlowSchedule
from ..runtime.sampling.levels import ModelSchedule
from ..runtime.sampling.names import find_sampler
from ..runtime.sampling.programs import program_sigmas
from ..runtime.sampling.samplers import SAMPLERS as OWN
from ..runtime.sampling.schedules import ALIGNED, ALIGNED_XL

SCHEDULERS = (
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic",
    "kl_optimal",
)  # fmt: skip
SAMPLERS = (
    "euler", "euler_ancestral", "heun", "heunpp2", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpmpp_2s_ancestral",
    "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_2m_sde_heun",
    "dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm", "ipndm", "ipndm_v", "deis",
    "res_multistep", "res_multistep_ancestral", "gradient_estimation", "er_sde", "seeds_2", "seeds_3", "sa_solver",
    "sa_solver_pece", "ddim", "uni_pc", "uni_pc_bh2",
)  # fmt: skip
"""ComfyUI's that the runtime has, in ComfyUI's order."""
TIMES = {
    **dict.fromkeys(("heun", "dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_sde_gpu"), 2),
    **dict.fromkeys(("seeds_2", "sa_solver_pece"), 2),
    **dict.fromkeys(("heunpp2", "seeds_3"), 3),
}
"""Evaluations a step where there are several, but for some steps at either end."""


def model_schedule(model: Model, shape: Sequence[int] | None = None) -> ModelSchedule | FlowSchedule:
    """A model's noise schedule, for latents of a shape where it depends on that."""
    return model.schedule.fitted(shape, COMFY.grid)


def scheduler_sigmas(
    model: Model,
    scheduler: str,
    steps: int,
    denoise: float = 1.0,
    sampler: str = "euler",
    shape: Sequence[int] | None = None,
) -> Array:
    """The sigmas of a scheduler, falling, with the end: float64 [steps + 1], some have more or fewer.

    `denoise` takes the last steps of a longer schedule; at most 0 none. `sampler` decides which sigmas are left out
    (comfy/samplers.py, KSampler.set_steps). Raises `InputError` for more steps than a schedule has.
    """
    if denoise <= 0:
        return np.zeros(0)
    whole = steps if denoise > 0.9999 else int(steps / denoise)
    schedule = model_schedule(model, shape)
    if whole > schedule.num_train_timesteps:
        raise InputError(
            f"{steps} steps at denoise {denoise:g} are the end of a schedule of {whole}; the model has "
            f"{schedule.num_train_timesteps} levels: use fewer steps, or more denoise"
        )
    own, _ = find_sampler(sampler)
    sigmas = program_sigmas(COMFY, schedule, own, scheduler, whole)
    return sigmas if whole == steps else sigmas[-(steps + 1) :]


def karras_sigmas(steps: int, high: float, low: float, rho: float) -> Array:
    """Karras et al. (arXiv:2206.00364), equation 5, and 0."""
    ramp = np.linspace(0, 1, steps)
    roots = high ** (1 / rho), low ** (1 / rho)
    return np.append((roots[0] + ramp * (roots[1] - roots[0])) ** rho, 0.0)


def exponential_sigmas(steps: int, high: float, low: float, rho: float = 1.0) -> Array:
    """A power of even steps in log sigma, and 0."""
    ramp = np.linspace(1, 0, steps) ** rho
    return np.append(np.exp(ramp * (math.log(high) - math.log(low)) + math.log(low)), 0.0)


def variance_preserving_sigmas(steps: int, beta_d: float, beta_min: float, least: float) -> Array:
    """Song et al. (arXiv:2011.13456), equation 33, over even times from 1 to `least`, and 0."""
    times = np.linspace(1, least, steps)
    return np.append(np.sqrt(np.exp(beta_d * times**2 / 2 + beta_min * times) - 1), 0.0)


def turbo_sigmas(model: Model, steps: int, denoise: float) -> Array:
    """The last of the ten timesteps that SD-Turbo was distilled at, and 0."""
    begin = 10 - int(10 * denoise)
    times = (np.arange(10, 0, -1) * 100 - 1)[begin : begin + steps]
    return np.append(model_schedule(model).sigmas_at(times.astype(float)), 0.0)


def aligned_sigmas(kind: str, steps: int, denoise: float) -> Array:
    """The table of Align Your Steps (arXiv:2404.14507), log-linear between its entries; the last becomes 0."""
    if kind == "SVD":
        raise InputError("this runtime serves no video models; choose SD1 or SDXL")
    if denoise <= 0:
        return np.zeros(0)
    table = np.log(ALIGNED if kind == "SD1" else ALIGNED_XL)
    places = np.linspace(0, len(table) - 1, steps + 1)
    sigmas = np.exp(np.interp(places, np.arange(len(table)), table))
    kept = steps if denoise >= 1 else round(steps * denoise)
    sigmas = sigmas[-(kept + 1) :]
    sigmas[-1] = 0
    return np.asarray(sigmas)


def evaluations(sampler: str, steps: int) -> int:
    """About how many times a sampler calls the model."""
    return steps * TIMES.get(sampler, 1)


def takes_eta(sampler: str) -> bool:
    """Whether a sampler scales its fresh noise."""
    return OWN[find_sampler(sampler)[0]].eta is not None
