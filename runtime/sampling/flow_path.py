"""The path of a sampler over a flow-matching schedule, and which samplers and schedules have none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ...errors import InputError
from ..conventions.convention import Convention
from .flow import CURVES, FLOW_SPACINGS, FlowSchedule
from .path import Path
from .samplers import Sampler, walk_sigmas
from .schedules import SIGMA_SCHEDULES

_LOG_SNR = "it steps in log SNR, which is infinite at pure noise; take 'dpmpp_2m', 'dpm2' or 'heun'"
_NO_IMAGE = "it divides by the image's share, which is 0 at pure noise; take 'dpmpp_2m' or 'unipc'"
REFUSED_SAMPLERS: Mapping[str, str] = {
    **dict.fromkeys(("dpmpp_2s", "dpmpp_3s", "dpmpp_2s_a", "dpmpp_sde", "dpm_fast"), _LOG_SNR),
    **dict.fromkeys(("er_sde", "seeds_2", "seeds_3", "sa_solver", "sa_solver_pece"), _LOG_SNR),
    **dict.fromkeys(("dpmsolver_2m", "dpmsolver_3m", "dpmsolver_2s", "dpmsolver_3s"), _NO_IMAGE),
    **dict.fromkeys(("deis_1", "deis", "deis_3"), _NO_IMAGE),
    **dict.fromkeys(("plms", "pndm"), "its weights are those of even steps on whole timesteps; take 'lms'"),
    "res_multistep_a": "its noise is that of betas; take 'res_multistep' or 'euler_a'",
    "restart": "the sigmas that it goes back to, 0.1 and 2, are those of betas; take 'heun'",
    "tcd": "models are distilled for it on betas alone; take 'lcm'",
}
REFUSED_SCHEDULES: Mapping[str, str] = {
    "leading": "it counts training timesteps from the image; take 'linspace' or 'trailing'",
    **dict.fromkeys(("align_your_steps", "align_your_steps_xl"), "its table is for betas; take 'simple' or 'beta'"),
}
# Programs run these with the steps of variance-exploding models: the noise that is left in x is not what is told.
_WRONG_IN: Mapping[str, frozenset[str]] = {
    "a1111": frozenset(
        {"ddim", "unipc", "unipc_bh2", "euler_a", "dpm2_a", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde", "lcm"}
    ),
    "comfy": frozenset({"ddpm"}),
}
_OFFSET = frozenset({"dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde"})
OFFSET = 1e-4
"""How far below pure noise, unshifted, ComfyUI evaluates a sampler of `_OFFSET` first (offset_first_sigma_for_snr)."""


def check(model: FlowSchedule, habit: Convention, sampler: str, schedule: str | None) -> None:
    """Raise `InputError`, with the reason, for a sampler or schedule that flow matching does not have."""
    if sampler in REFUSED_SAMPLERS:
        reason = REFUSED_SAMPLERS[sampler]
        raise InputError(f"the sampler {sampler!r} cannot run a flow-matching model: {reason}", "sampler")
    if schedule and schedule in REFUSED_SCHEDULES:
        reason = REFUSED_SCHEDULES[schedule]
        raise InputError(f"the schedule {schedule!r} does not suit flow matching: {reason}", "schedule")
    if sampler in _WRONG_IN.get(habit.name, ()):
        raise InputError(
            f"{habit.program} runs {sampler!r} on flow matching as on betas; take another convention or sampler",
            "sampler",
        )
    if habit.name == "a1111" and model.use_dynamic_shifting:
        raise InputError(
            f"{habit.program} has no model whose shift depends on the size; take another convention", "convention"
        )
    if habit.name == "diffusers" and model.stochastic_sampling and sampler == "euler":
        raise InputError(
            "this model's scheduler in diffusers samples stochastically; that is the sampler 'lcm'", "sampler"
        )


def walk(model: FlowSchedule, sampler: Sampler, schedule: str | None, steps: int) -> Path:
    """The whole path of `steps` steps on a spacing or a named schedule; None is the model's own.

    "karras", "exponential" and "beta" are stretched over the range of the model's spacing, as in diffusers, the others
    over the trained sigmas, as in ComfyUI. Raises `InputError` where the steps do not fit.
    """
    curve = schedule or model.curve
    if curve is None or curve in FLOW_SPACINGS:
        sigmas = model.spaced(curve or model.timestep_spacing, steps)
    else:
        ends = model.spaced(model.timestep_spacing, steps) if curve in CURVES.values() else model.sigmas[::-1]
        sigmas = SIGMA_SCHEDULES[curve](model, steps, float(ends[0]), float(ends[-1]))
    if steps > 1 and np.diff(sigmas).max() >= 0:
        raise InputError(f"{steps} steps do not fit on the schedule {curve!r} of this model; ask for fewer steps")
    return walk_sigmas(model, sampler, [*sigmas, 0.0])


def entered(path: Path, model: FlowSchedule, sampler: str) -> Path:
    """The path with ComfyUI's habit at its beginning: see `OFFSET`. x is made for the level that it leaves."""
    if path.like != "comfy" or sampler not in _OFFSET or path.begin == len(path.levels):
        return path
    first = path.levels[path.begin]
    if first.sigma < 1.0:
        return path
    sigma = float(model.shifted(np.array(1.0 - OFFSET)))
    below = model.level_of(sigma, float(model.time_of(sigma)))
    return replace(path, levels=(*path.levels[: path.begin], below, *path.levels[path.begin + 1 :]), start=first)
