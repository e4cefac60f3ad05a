"""The names that diffusers, A1111 and ComfyUI give to samplers and schedules."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from ...errors import InputError, unknown
from .levels import SPACINGS
from .samplers import SAMPLERS
from .schedules import SIGMA_SCHEDULES

SCHEDULES = (*SPACINGS, *SIGMA_SCHEDULES)

# As Stable Diffusion web UI writes them in a picture's parameters. It lacks the names that are not here.
_A1111_SAMPLERS = {
    "ddim": "DDIM",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpm2": "DPM2",
    "dpm2_a": "DPM2 a",
    "lms": "LMS",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_3m_sde": "DPM++ 3M SDE",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_2s_a": "DPM++ 2S a",
    "dpm_fast": "DPM fast",
    "restart": "Restart",
    "dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun",
    "unipc": "UniPC",
    "plms": "PLMS",
    "lcm": "LCM",
}
_AUTOMATIC = "Automatic"
_A1111_SCHEDULES = {
    "karras": "Karras",
    "exponential": "Exponential",
    "polyexponential": "Polyexponential",
    "beta": "Beta",
    "sgm_uniform": "SGM Uniform",
    "normal": "Normal",
    "simple": "Simple",
    "ddim_uniform": "DDIM",
    "align_your_steps": "Align Your Steps",
    "kl_optimal": "KL Optimal",
}
# What is nearest there: it has no spacings, and takes the table of Align Your Steps that suits the model.
_A1111_NEAREST = {
    **dict.fromkeys(SPACINGS, "Uniform"),
    "align_your_steps_xl": "Align Your Steps",
    "linear_quadratic": "Normal",
}

# Case, spaces, dots and dashes do not count, nor does a leading "k_": see `_key`.
_SAMPLER_ALIASES = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "euler": "EulerDiscreteScheduler|FlowMatchEulerDiscreteScheduler",
    "euler_a": "EulerAncestralDiscreteScheduler|Euler ancestral",
    "heun": "HeunDiscreteScheduler|FlowMatchHeunDiscreteScheduler",
    "dpm2": "KDPM2DiscreteScheduler|DPM 2",
    "dpm2_a": "KDPM2AncestralDiscreteScheduler|DPM2 ancestral|DPM 2 a|DPM 2 ancestral",
    "lms": "LMSDiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler|dpmsolver++",
    "dpmpp_2m_sde": "sde-dpmsolver++|dpmpp_2m_sde_gpu",
    "dpmpp_2m_sde_heun": "dpmpp_2m_sde_heun_gpu",
    "dpmpp_3m_sde": "dpmpp_3m_sde_gpu",
    "dpmpp_sde": "DPMSolverSDEScheduler|dpmpp_sde_gpu",
    "dpmpp_2s": "DPMSolverSinglestepScheduler",
    "dpmpp_2s_a": "dpmpp_2s_ancestral|DPM++ 2S ancestral",
    "res_multistep_a": "res_multistep_ancestral",
    "dpmsolver_2m": "dpmsolver",
    "deis": "DEISMultistepScheduler",
    "unipc": "UniPCMultistepScheduler|uni_pc",
    "unipc_bh2": "uni_pc_bh2",
    "plms": "PNDMScheduler",  # as the Stable Diffusion checkpoints configure it
    "pndm": "F-PNDM",
    "lcm": "LCMScheduler|FlowMatchLCMScheduler",
    "tcd": "TCDScheduler",
}
_NO_TABLE = {"dpmadaptive": "it chooses its steps by what the model returns; take 'dpm_fast' or 'dpmpp_2m'"}
"""Samplers that cannot be a table made before the run, by key, and why."""

_SCHEDULE_ALIASES = {
    "karras": "use_karras_sigmas",
    "exponential": "use_exponential_sigmas",
    "beta": "use_beta_sigmas",
    "normal": "Uniform",
    "align_your_steps": "AYS",
    "align_your_steps_xl": "AYS XL|AYS SDXL",
}


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", re.sub(r"^k_", "", name.strip().lower()))


def _spellings(names: Iterable[str], *tables: Mapping[str, str]) -> dict[str, str]:
    """Own names by every spelling in use."""
    spellings = {name: name for name in names}
    for table in tables:
        spellings |= {alias: name for name, aliases in table.items() for alias in aliases.split("|")}
    return spellings


_SAMPLER_SPELLINGS = _spellings(SAMPLERS, _A1111_SAMPLERS, _SAMPLER_ALIASES)
_SCHEDULE_SPELLINGS = _spellings(SCHEDULES, _A1111_SCHEDULES, _SCHEDULE_ALIASES)
_SAMPLERS = {_key(alias): name for alias, name in _SAMPLER_SPELLINGS.items()}
_SCHEDULES = {_key(alias): name for alias, name in _SCHEDULE_SPELLINGS.items()}


def a1111_labels(sampler: str, schedule: str) -> tuple[str, str]:
    """What Stable Diffusion web UI calls the sampler and the schedule of a `Plan`: its "Sampler" and "Schedule type".

    A sampler that it does not have keeps its own name. A schedule that it does not have gets the nearest label: without
    one it would take Karras for many samplers. "Automatic" stands for a distilled model's timesteps and listed ones.
    `find_sampler` and `find_schedule` take what this returns; where the label is only the nearest, the schedule that
    comes back is another one.
    """
    labels = _A1111_SCHEDULES | _A1111_NEAREST
    return _A1111_SAMPLERS.get(sampler, sampler), labels.get(schedule, _AUTOMATIC)


def a1111_eta(sampler: str) -> str:
    """What Stable Diffusion web UI calls a sampler's eta: DDIM's is an option of its own."""
    return "Eta DDIM" if sampler == "ddim" else "Eta"


def find_sampler(name: str) -> tuple[str, str | None]:
    """(The sampler's own name, the schedule that the name carries or None): "DPM++ 2M Karras" carries one.

    Raises `InputError` for a name that nobody uses.
    """
    key = _key(_text("sampler", name))
    if key in _NO_TABLE:
        raise InputError(f"sampler {name!r} cannot run here: {_NO_TABLE[key]}")
    if name in SAMPLERS:  # also one that was added since
        return name, None
    if key in _SAMPLERS:
        return _SAMPLERS[key], None
    for ending, schedule in _SCHEDULES.items():
        if key.endswith(ending) and (stem := key.removesuffix(ending)) in _SAMPLERS:
            return _SAMPLERS[stem], schedule
    raise _unknown("sampler", name, _SAMPLER_SPELLINGS | _joined(), SAMPLERS)


def find_a1111_sampler(name: str) -> tuple[str, str | None]:
    """As `find_sampler`, of an infotext's name: the error lists A1111's names, at most 8, the nearest first."""
    key = _key(_text("sampler", name))
    try:
        return find_sampler(name)
    except InputError:
        if key in _NO_TABLE:
            raise
    joined = {_key(label): label for label in _joined()}
    near = [joined[close] for close in difflib.get_close_matches(key, joined, n=1, cutoff=0.85)]
    plain = sorted(_A1111_SAMPLERS.values(), key=lambda label: -difflib.SequenceMatcher(None, key, _key(label)).ratio())
    raise InputError(f"unknown sampler {name!r}; A1111's are, nearest first: {', '.join([*near, *plain][:8])}")


def find_schedule(name: str | None) -> str | None:
    """The schedule's own name; None stays None, and so does A1111's "Automatic": the model's or sampler's own.

    Raises `InputError` for a name that nobody uses.
    """
    if name is None or (key := _key(_text("schedule", name))) == _key(_AUTOMATIC):
        return None
    if key not in _SCHEDULES:
        raise _unknown("schedule", name, _SCHEDULE_SPELLINGS, SCHEDULES)
    return _SCHEDULES[key]


def resolve(sampler: str, schedule: str | None) -> tuple[str, str | None]:
    """Own names of both; raises `InputError` where the sampler's name carries another schedule than the one asked."""
    own, carried = find_sampler(sampler)
    asked = find_schedule(schedule)
    if asked and carried and asked != carried:
        raise InputError(f"sampler {sampler!r} names the schedule {carried!r}, but {asked!r} is asked for; name one")
    return own, asked or carried


def _text(kind: str, name: object) -> str:
    if not isinstance(name, str):
        raise InputError(f"{kind} is {name!r}; give its name as a text")
    return name


def _joined() -> dict[str, str]:
    """Samplers' names that carry a schedule, by the spelling to suggest."""
    return {
        f"{label} {ending}": f"{sampler} {schedule}"
        for sampler, label in _A1111_SAMPLERS.items()
        for schedule, ending in _A1111_SCHEDULES.items()
    }


def _unknown(kind: str, name: str, spellings: Mapping[str, str], own: Iterable[str]) -> InputError:
    """The error for a name that nobody uses, which suggests the nearest of `spellings`, one for each thing meant."""
    keys = {_key(spelling): spelling for spelling in reversed(list(spellings))}  # own names, being first, win
    near = [keys[key] for key in difflib.get_close_matches(_key(name), keys, n=5, cutoff=0.6)]
    meant: dict[str, str] = {}
    for spelling in near:
        meant.setdefault(spellings[spelling], spelling)
    if not meant:
        return unknown(kind, name, own)
    return InputError(f"unknown {kind} {name!r}; did you mean {' or '.join(map(repr, [*meant.values()][:3]))}?")
