"""The samplers by name, and the path that each walks on a schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError, unknown
from . import ddim, dpm_solver, exponential, k_diffusion, multi_step, pndm, sa_solver, single_step, slopes, unipc
from .flow import FlowSchedule
from .levels import SPACINGS, Level, ModelSchedule
from .linear import Line
from .noise_schedule import NoiseSchedule
from .path import Path
from .schedules import SIGMA_SCHEDULES, distilled, spaced

GRIDS = ("fraction", "whole", "open", "distilled")
ENDS = ("final_sigmas_type", "set_alpha_to_one", "clean", "lowest", "sigma_min")


@dataclass(frozen=True)
class Sampler:
    """A sampler and what diffusers' scheduler of it does around the algorithm."""

    lines: Callable[..., Iterator[Line]]
    grid: str
    """How it reads a spacing: "fraction", "whole", "open" (see `spaced`), or "distilled" at a model's own timesteps."""
    spacing: str = "linspace"
    """The spacing it takes where the model's facts name none."""
    ve: bool = False
    """Is its x clean + ve * noise?"""
    eta: float | None = None
    """The default of its `eta`; None: it takes none."""
    end: str = "final_sigmas_type"
    """What decides where it ends: a field of the model's facts, "clean", "lowest" (the level of timestep 0 after a
    spacing) or "sigma_min" (that level always)."""
    to_one: bool = False
    """`set_alpha_to_one` where the model's facts leave it open."""
    gap: bool = False
    """Do its steps lead down by a fixed count of timesteps on a spacing?"""
    rounds: tuple[str, ...] = ()
    """Schedules on which the model is told the nearest whole timestep."""
    cuts: tuple[str, ...] = ()
    """Schedules on which the model is told the whole timestep below."""

    def __post_init__(self) -> None:
        """Raise `InputError` for a word of `grid`, `spacing`, `end`, `rounds` or `cuts` that is none."""
        for field, words, known in (
            ("grid", (self.grid,), GRIDS),
            ("spacing", (self.spacing,), SPACINGS),
            ("end", (self.end,), ENDS),
            ("rounds", self.rounds, SIGMA_SCHEDULES),
            ("cuts", self.cuts, SIGMA_SCHEDULES),
        ):
            for word in words:
                if word not in known:
                    raise unknown(f"{field} of a sampler", word, known, field)


def _open(lines: Callable[..., Iterator[Line]], **options: Any) -> Sampler:
    """One of the family of diffusers' DPMSolverMultistepScheduler."""
    return Sampler(lines, "open", rounds=("karras",), cuts=("exponential", "beta"), **options)


# Heun, DPM2 and DPM++ SDE ignore `final_sigmas_type` in diffusers, as they do zero terminal SNR.
SAMPLERS = {
    "ddim": Sampler(ddim.ddim, "whole", "leading", eta=0.0, end="set_alpha_to_one", to_one=True, gap=True),
    "ddpm": Sampler(ddim.ddpm, "whole", "leading", end="clean"),
    "euler": Sampler(single_step.euler, "fraction", ve=True),
    "euler_a": Sampler(single_step.euler_a, "fraction", ve=True, eta=1.0, end="clean"),
    "heun": Sampler(single_step.heun, "fraction", ve=True, end="clean"),
    "dpm2": Sampler(single_step.dpm2, "fraction", ve=True, end="clean", rounds=("karras",)),
    "dpm2_a": Sampler(single_step.dpm2_a, "fraction", ve=True, eta=1.0, end="clean", rounds=("karras",)),
    "lms": Sampler(multi_step.lms, "fraction", ve=True, end="clean"),
    "dpmpp_sde": Sampler(single_step.dpmpp_sde, "fraction", ve=True, eta=1.0, end="clean"),
    "dpmpp_2m": _open(multi_step.dpmpp_2m),
    "dpmpp_2m_sde": _open(multi_step.dpmpp_2m_sde, eta=1.0),
    "dpmpp_2m_sde_heun": _open(multi_step.dpmpp_2m_sde_heun, eta=1.0),
    "dpmpp_3m_sde": _open(multi_step.dpmpp_3m_sde, eta=1.0),
    "dpmpp_3m": _open(multi_step.dpmpp_3m),
    "dpmpp_2s": _open(partial(dpm_solver.dpmpp_singlestep, order=2)),
    "dpmpp_3s": _open(partial(dpm_solver.dpmpp_singlestep, order=3)),
    "dpmpp_2s_a": Sampler(single_step.dpmpp_2s_a, "fraction", ve=True, eta=1.0, end="clean"),
    "dpmsolver_2m": _open(partial(dpm_solver.dpmsolver, order=2), end="sigma_min"),
    "dpmsolver_3m": _open(partial(dpm_solver.dpmsolver, order=3), end="sigma_min"),
    "dpmsolver_2s": _open(partial(dpm_solver.dpmsolver_singlestep, order=2), end="sigma_min"),
    "dpmsolver_3s": _open(partial(dpm_solver.dpmsolver_singlestep, order=3), end="sigma_min"),
    "deis_1": _open(partial(dpm_solver.deis, order=1), end="sigma_min"),
    "deis": _open(partial(dpm_solver.deis, order=2), end="sigma_min"),
    "deis_3": _open(partial(dpm_solver.deis, order=3), end="sigma_min"),
    "dpm_fast": Sampler(k_diffusion.dpm_fast, "fraction", ve=True, eta=0.0, end="sigma_min"),
    "restart": Sampler(k_diffusion.restart, "fraction", ve=True, end="clean"),
    "ipndm": Sampler(slopes.ipndm, "fraction", ve=True, end="clean"),
    "ipndm_v": Sampler(slopes.ipndm_v, "fraction", ve=True, end="clean"),
    "heunpp2": Sampler(slopes.heunpp2, "fraction", ve=True, end="clean"),
    "gradient_estimation": Sampler(slopes.gradient_estimation, "fraction", ve=True, end="clean"),
    "res_multistep": Sampler(exponential.res_multistep, "fraction", ve=True, end="clean"),
    "res_multistep_a": Sampler(exponential.res_multistep_a, "fraction", ve=True, eta=1.0, end="clean"),
    "er_sde": Sampler(exponential.er_sde, "fraction", end="clean"),
    "seeds_2": Sampler(exponential.seeds_2, "fraction", eta=1.0, end="clean"),
    "seeds_3": Sampler(exponential.seeds_3, "fraction", eta=1.0, end="clean"),
    "sa_solver": Sampler(sa_solver.sa_solver, "fraction", eta=1.0, end="clean"),
    "sa_solver_pece": Sampler(sa_solver.sa_solver_pece, "fraction", eta=1.0, end="clean"),
    "unipc": _open(unipc.unipc),
    "unipc_bh2": _open(unipc.unipc_bh2),
    "pndm": Sampler(pndm.pndm, "whole", "leading", end="set_alpha_to_one", gap=True),
    "plms": Sampler(pndm.plms, "whole", "leading", end="set_alpha_to_one", gap=True),
    "lcm": Sampler(ddim.lcm, "distilled", end="clean"),
    "tcd": Sampler(ddim.tcd, "distilled", eta=0.3, end="lowest"),
}


def spacing_of(model: ModelSchedule, sampler: Sampler) -> str:
    """The spacing that a scheduler of diffusers would take from the model's facts."""
    return model.timestep_spacing or sampler.spacing


def walk(model: ModelSchedule, sampler: Sampler, schedule: str | None, steps: int) -> Path:
    """The whole path of `steps` steps on a spacing, a schedule of `SIGMA_SCHEDULES`, or None: the model's own.

    Where a schedule's lowest level is the end as well (`final_sigmas_type` "sigma_min" on karras and its kin), the last
    step has no length and leaves x as it is, as in diffusers.
    """
    end, gap = _end(model, sampler), None
    if schedule in SIGMA_SCHEDULES:
        levels = _levels_of_sigmas(model, sampler, schedule, steps)
        if sampler.end not in (
            "final_sigmas_type",
            "sigma_min",
        ):  # these schedules reach timestep 0, so an end there would do nothing
            end = Level.of_abar(1.0)
    elif schedule is None and sampler.grid == "distilled":
        levels = [model.level(time) for time in distilled(model, steps)]
    else:
        grid = "whole" if sampler.grid == "distilled" else sampler.grid
        times = spaced(model, schedule or spacing_of(model, sampler), steps, grid)
        levels = levels_of_times(model, sampler, times)
        gap = model.num_train_timesteps // steps if sampler.gap else None
    return Path(model, tuple(levels), _not_above(levels[-1], end), sampler.ve, gap)


def walk_times(model: ModelSchedule | FlowSchedule, sampler: Sampler, times: Sequence[float]) -> Path:
    """A path over the timesteps that a caller lists, falling; raises `InputError` where they cannot be one."""
    given = np.asarray(times, dtype=np.float64)
    if given.ndim != 1 or not len(given) or not np.isfinite(given).all():
        raise InputError("timesteps must be a list of numbers")
    if given.max() > model.last_timestep or given.min() < 0 or (np.diff(given) >= 0).any():
        raise InputError(f"timesteps must fall, from at most {model.last_timestep} to at least 0")
    if isinstance(model, FlowSchedule):
        return walk_sigmas(model, sampler, [*(given / model.num_train_timesteps), 0.0])
    levels = levels_of_times(model, sampler, given)
    return Path(model, tuple(levels), _not_above(levels[-1], _end(model, sampler)), sampler.ve)


def walk_sigmas(model: NoiseSchedule, sampler: Sampler, sigmas: Sequence[float]) -> Path:
    """A path over the sigmas that a caller lists, falling, the last (usually 0) being where the last step leads."""
    given = np.asarray(sigmas, dtype=np.float64)
    if given.ndim != 1 or len(given) < 2 or not np.isfinite(given).all():
        raise InputError("sigmas must be a list of at least two numbers: the levels to evaluate at, then the end")
    if given[-1] < 0 or (np.diff(given) >= 0).any():
        raise InputError("sigmas must fall, to no less than 0")
    times = [*model.time_of(given[:-1]), 0.0]
    *levels, end = (model.level_of(float(sigma), float(time)) for sigma, time in zip(given, times, strict=True))
    return Path(model, tuple(levels), end, sampler.ve)


def levels_of_sigmas(sigmas: Array, times: Array) -> list[Level]:
    """Levels of sigmas and of what the model is told there."""
    return [Level.of_ve(float(sigma), float(time)) for sigma, time in zip(sigmas, times, strict=True)]


def levels_of_times(model: ModelSchedule, sampler: Sampler, times: Array) -> list[Level]:
    """Levels of training timesteps.

    Samplers that count in sigma stay off the infinite one of zero terminal SNR; the others take a whole timestep's
    level as it is.
    """
    if sampler.grid in ("whole", "distilled") and (times == np.floor(times)).all():
        return [model.level(time) for time in times]
    return levels_of_sigmas(model.sigmas_at_linear(times), times)


def _levels_of_sigmas(model: ModelSchedule, sampler: Sampler, schedule: str, steps: int) -> list[Level]:
    high, low = model.sigmas[-1], model.sigmas[0]
    if sampler.grid == "fraction":  # diffusers stretches these over the range of the spacing
        high, low = model.sigmas_at_linear(spaced(model, spacing_of(model, sampler), steps, sampler.grid))[[0, -1]]
    sigmas = SIGMA_SCHEDULES[schedule](model, steps, float(high), float(low))
    times = model.time_of(sigmas)
    if schedule in sampler.rounds:
        times = np.round(times)
    if schedule in sampler.cuts:
        times = np.floor(times)
    return levels_of_sigmas(sigmas, times)


def _not_above(last: Level, end: Level) -> Level:
    """`end`, or the last level itself where that is as low but for rounding, or lower: no step leads up."""
    return end if end.ve < last.ve * (1 - 1e-6) else last


def _end(model: ModelSchedule, sampler: Sampler) -> Level:
    if sampler.end == "set_alpha_to_one":
        to_one = sampler.to_one if model.set_alpha_to_one is None else model.set_alpha_to_one
        return Level.of_abar(1.0) if to_one else model.level(0)
    if sampler.end in ("lowest", "sigma_min") or (
        sampler.end == "final_sigmas_type" and model.final_sigmas_type == "sigma_min"
    ):
        return model.level(0)
    return Level.of_abar(1.0)
