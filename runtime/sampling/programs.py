"""The paths of A1111's and ComfyUI's samplers: their sigmas, the timesteps that the model is given, and the end."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError, counted
from ..conventions.convention import Convention
from .levels import SPACINGS, Level, ModelSchedule
from .noise_schedule import NoiseSchedule
from .path import Path
from .samplers import Sampler
from .schedules import ALIGNED, ALIGNED_XL, DISTILLED_STEPS, SIGMA_SCHEDULES, beta_quantile

UNIPC_END = 0.001
"""The sigma at which ComfyUI's UniPC ends instead of 0."""

_IN_SIGMA = frozenset({"dpmpp_2m", "unipc", "unipc_bh2"})
"""Samplers that the programs step in log sigma: of betas that is log SNR, of flow matching another number."""


def follows(habit: Convention, sampler: str, schedule: str | None) -> bool:
    """Does the program have this sampler, and sigmas of its own for it? A spacing that a request names stays one."""
    return habit.grid != "diffusers" and sampler not in habit.lacks and schedule not in SPACINGS


def walk_program(
    habit: Convention, model: NoiseSchedule, name: str, sampler: Sampler, schedule: str, steps: int
) -> Path:
    """The whole path of a sampler that the program runs on sigmas; it may have a few steps more or fewer than asked."""
    if name == "lcm" and habit.grid == "a1111" and isinstance(model, ModelSchedule):
        return _distilled(habit, model, sampler, schedule, steps)
    return _walk(habit, model, name, sampler, program_sigmas(habit, model, name, schedule, steps))


def walk_listed(habit: Convention, model: NoiseSchedule, name: str, sampler: Sampler, sigmas: Sequence[float]) -> Path:
    """The path of a ComfyUI sampler over listed sigmas, the last being where the last step leads.

    Rising ones, which take a picture back to noise, are Euler's alone. Raises `InputError` for what is no path.
    """
    if name in habit.lacks:
        raise InputError(f"{habit.program} has no sampler {name!r}; name one of its own")
    listed = np.array(sigmas, np.float64)
    if listed.ndim != 1 or len(listed) < 2 or not np.isfinite(listed).all() or (listed < 0).any():
        raise InputError("sigmas are a list of at least two numbers: the levels to evaluate at, then the end")
    steps = np.diff(listed)
    if not (steps < 0).all() and not ((steps > 0).all() and name == "euler" and listed[0] > 0):
        raise InputError(f"the sigmas do not fall, as {name!r} needs it; rising ones from above 0 are for 'euler'")
    return _walk(habit, model, name, sampler, listed)


def _walk(habit: Convention, model: NoiseSchedule, name: str, sampler: Sampler, sigmas: Array) -> Path:
    if habit.grid == "comfy" and name in ("unipc", "unipc_bh2") and not sigmas[-1]:
        sigmas[-1] = UNIPC_END
    levels = _levels(model, sigmas, model.time_of(sigmas, habit.whole_timesteps))
    ve = sampler.ve or (model.prediction_type == "velocity" and name in _IN_SIGMA)
    return Path(model, levels[:-1], levels[-1], ve, habit=habit)


def program_sigmas(habit: Convention, model: NoiseSchedule, name: str, schedule: str, steps: int) -> Array:
    """The sigmas that the program makes for a sampler, falling, with the end: usually 0."""
    points = steps + (name in habit.discards)
    high, low = float(model.sigmas[-1]), float(model.sigmas[0])
    if habit.grid == "a1111" and schedule == "kl_optimal":  # it has no 0 at its end, and so leaves noise
        sigmas = SIGMA_SCHEDULES[schedule](model, points + 1, high, low)
    elif schedule == "ddim_uniform":  # where `points` does not divide the training steps, these are more
        sigmas = np.append(model.sigmas[1 :: max(len(model.sigmas) // points, 1)][::-1], 0.0)
    elif habit.grid == "a1111" and schedule in _A1111_TABLES:
        sigmas = np.append(_interpolated(_A1111_TABLES[schedule], points), 0.0)
    elif habit.grid == "a1111" and schedule in ("normal", "sgm_uniform") and model.prediction_type == "velocity":
        table = tuple(model.sigmas[::-1].tolist())  # its times are places in the model's table
        sigmas = np.append(_interpolated(table, points + (schedule == "sgm_uniform"))[:points], 0.0)
    elif habit.grid == "comfy" and schedule == "beta":
        sigmas = np.append(_beta_timesteps(model, points), 0.0)
    else:
        sigmas = np.append(SIGMA_SCHEDULES[schedule](model, points, high, low), 0.0)
    return np.delete(sigmas, -2) if name in habit.discards else sigmas


def enter_timesteps(
    habit: Convention, model: ModelSchedule, name: str, sampler: Sampler, steps: int, strength: float
) -> Path:
    """A1111's image-to-image path of DDIM, PLMS and UniPC, entered at a strength.

    Noise is added for one timestep, and the first evaluation is at the next one below it. DDIM and PLMS end at the
    lowest of the timesteps, 1; UniPC goes from the first evaluation to timestep 0 in even parts, its alphas between
    whole timesteps being linear in their logarithm. Raises `InputError` where nothing would run, for the program then
    leaves the noise in the picture.
    """
    train = model.num_train_timesteps
    times = np.minimum(np.arange(0, train, train // steps) + 1, train - 1)[::-1].astype(np.float64)
    encoded = int(min(strength, 0.999) * steps)
    place = len(times) - 1 - encoded
    unipc = sampler.grid == "open"
    if encoded < (1 if unipc else 2) and strength > 0:
        least = next((n for n in range(steps, 1001) if int(min(strength, 0.999) * n) >= (1 if unipc else 2)), None)
        more = f"ask for at least {least} steps, or for" if least else "ask for"
        raise InputError(
            f"strength {strength:g} of {counted(steps, 'step')} runs nothing with {name!r} in {habit.program}, which "
            f"leaves the noise in the picture; {more} another convention"
        )
    start = model.level(times[place])
    if not unipc or not encoded:
        levels = tuple(model.level(time) for time in times[:-1])
        return Path(model, levels, model.level(times[-1]), False, begin=place + 1, habit=habit, start=start)
    line = np.linspace(times[place + 1], 0, encoded + 1)
    abar = np.exp(np.interp(line, np.arange(train), np.log(model.abar)))
    levels = tuple(Level.of_abar(float(left), float(time)) for left, time in zip(abar, line, strict=True))
    return Path(model, levels[:-1], levels[-1], False, habit=habit, start=start)


_A1111_TABLES = {"align_your_steps": ALIGNED, "align_your_steps_xl": ALIGNED_XL}


def _interpolated(table: tuple[float, ...], points: int) -> Array:
    """Even places of a falling table, log-linear between entries, as A1111 reads it: the last is evaluated too, and is
    the one of a single step."""
    places = np.linspace(len(table) - 1, 0, points)[::-1]
    return np.asarray(np.exp(np.interp(places, np.arange(len(table)), np.log(table))))


def _beta_timesteps(model: NoiseSchedule, steps: int) -> Array:
    """Quantiles of Beta(0.6, 0.6) over the timesteps, equal ones once; ComfyUI's reading of arXiv:2407.12173."""
    quantiles = beta_quantile(1 - np.linspace(0, 1, steps, endpoint=False), 0.6)
    places = np.rint(np.round(quantiles * (len(model.sigmas) - 1), 9)).astype(int)
    return np.asarray(model.sigmas[places[np.append(True, np.diff(places) != 0)]])


def _distilled(habit: Convention, model: ModelSchedule, sampler: Sampler, schedule: str, steps: int) -> Path:
    """A1111's LCM: schedules over the levels that it was distilled at, of which the model is given the nearest."""
    few = _thinned(model)
    sigmas = program_sigmas(habit, few, "lcm", schedule, steps)
    apart = model.num_train_timesteps // DISTILLED_STEPS
    levels = _levels(few, sigmas, few.time_of(sigmas, whole=True) * apart + apart - 1)
    return Path(model, levels[:-1], levels[-1], sampler.ve, habit=habit)


def _thinned(model: ModelSchedule) -> ModelSchedule:
    """The schedule of those timesteps only that a consistency model was distilled at."""
    apart = model.num_train_timesteps // DISTILLED_STEPS
    abar = model.abar[apart - 1 :: apart][:DISTILLED_STEPS]
    betas = 1 - abar / np.append(1.0, abar[:-1])
    return ModelSchedule(num_train_timesteps=len(betas), trained_betas=tuple(betas.tolist()))


def _levels(model: NoiseSchedule, sigmas: Array, times: Array) -> tuple[Level, ...]:
    return tuple(model.level_of(float(sigma), float(time)) for sigma, time in zip(sigmas, times, strict=True))


def undo_scale(path: Path) -> float:
    """What x at the end is multiplied by, where the program's x is clean + sigma * noise and the sampler's is not."""
    if path.ve or path.start is not None or path.habit.grid == "diffusers":
        return 1.0
    return math.hypot(1.0, path.end.ve)
