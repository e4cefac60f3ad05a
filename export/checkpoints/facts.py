"""The facts of a model that the runtime reads from the manifest, taken from a checkpoint's configurations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import diffusers

from ...bundles.facts import USUAL, Defaults, ModelFacts
from ...errors import ExportError, InputError, unknown
from .. import components
from ..components import Config, latent_size
from .checkpoint import Checkpoint
from .distilled import EMBEDDED_GUIDANCE, of_sampler
from .load import defaults

FAMILY = "stable-diffusion"
XL = "stable-diffusion-xl"

# The sampler that does what a diffusers scheduler does under its usual settings.
SAMPLERS = {
    "DDIMScheduler": "ddim",
    "DDPMScheduler": "ddpm",
    "DPMSolverMultistepScheduler": "dpmpp_2m",
    "DPMSolverSDEScheduler": "dpmpp_sde",
    "EulerAncestralDiscreteScheduler": "euler_a",
    "EulerDiscreteScheduler": "euler",
    "HeunDiscreteScheduler": "heun",
    "KDPM2AncestralDiscreteScheduler": "dpm2_a",
    "KDPM2DiscreteScheduler": "dpm2",
    "LCMScheduler": "lcm",
    "LMSDiscreteScheduler": "lms",
    "PNDMScheduler": "plms",
    "TCDScheduler": "tcd",
    "UniPCMultistepScheduler": "unipc",
}
# The same for the schedulers of flow matching.
FLOW_SAMPLERS = {"FlowMatchEulerDiscreteScheduler": "euler", "FlowMatchHeunDiscreteScheduler": "heun"}
SCHEDULE_FIELDS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "steps_offset",
    "rescale_betas_zero_snr",
)
# Where the checkpoint is silent about these, every sampler has its own default.
SAMPLER_FIELDS = ("timestep_spacing", "set_alpha_to_one", "final_sigmas_type")
# What the samplers do where it is not what the scheduler's class does by default. Latents are not clipped.
FOLLOWED: dict[str, dict[str, Any]] = {
    "ddim": {"clip_sample": False},
    "ddpm": {"clip_sample": False},
    "dpmpp_2m_sde": {"algorithm_type": "sde-dpmsolver++"},
    "dpmpp_3m_sde": {"algorithm_type": "sde-dpmsolver++", "solver_order": 3, "solver_type": "heun"},
    "plms": {"skip_prk_steps": True},
}
# Schedules of the runtime by the settings that ask for them.
SCHEDULES = {"use_karras_sigmas": "karras", "use_exponential_sigmas": "exponential", "use_beta_sigmas": "beta"}
# Samplers by a scheduler's class, its algorithm and its order; what else these can be is the first of them, and a note.
SOLVERS: Mapping[tuple[str, str], Mapping[int, str]] = {
    ("DEISMultistepScheduler", "deis"): {1: "deis_1", 2: "deis", 3: "deis_3"},
    ("DPMSolverMultistepScheduler", "dpmsolver"): {2: "dpmsolver_2m", 3: "dpmsolver_3m"},
    ("DPMSolverMultistepScheduler", "dpmsolver++"): {2: "dpmpp_2m", 3: "dpmpp_3m"},
    ("DPMSolverSinglestepScheduler", "dpmsolver"): {2: "dpmsolver_2s", 3: "dpmsolver_3s"},
    ("DPMSolverSinglestepScheduler", "dpmsolver++"): {2: "dpmpp_2s", 3: "dpmpp_3s"},
}
# Schedulers that the nearest sampler stands for, until there is one of their own.
NEAREST = {
    "SASolverScheduler": "dpmpp_2m_sde",
}
# These say nothing but how another setting is done.
DETAILS = ("clip_sample_range", "dynamic_thresholding_ratio", "sample_max_value", "flow_shift", "time_shift_type")


def model_facts(checkpoint: Checkpoint, name: str) -> ModelFacts:
    """The facts of a model that shall be called `name`; `origin` tells under "not followed" what they leave out.

    Raises `InputError` for a scheduler that cannot be used, `ExportError` where diffusers lacks a library for it.
    """
    unet, vae, scheduler = (checkpoint.configs[part] for part in ("unet", "vae", "scheduler"))
    scale = downscale(vae)
    width, height = latent_size(unet)
    ids = components.size_ids(checkpoint.configs)
    ignored = ", ".join(f"{field}={value!r}" for field, value in not_followed(scheduler).items())
    return ModelFacts(
        name=name,
        family=XL if ids else FAMILY,
        latent_channels=vae["latent_channels"],
        downscale=scale,
        multiple=scale,
        scaling_factor=float(vae["scaling_factor"]),
        shift_factor=float(vae["shift_factor"] or 0.0),
        default_size=(width * scale, height * scale),
        default_sampler=default_sampler(scheduler),
        scheduler=schedule_facts(scheduler),
        origin={**checkpoint.origin, **({"not followed": ignored} if ignored else {})},
        conditioning_channels=unet["in_channels"] - vae["latent_channels"],
        default_schedule=default_schedule(scheduler),
        defaults=_defaults(default_sampler(scheduler), unet, vae),
        size_ids=ids,
        zero_empty_negative=checkpoint.zero_empty_negative,
    )


def defaults_of(sampler: str) -> Mapping[str, Defaults]:
    """What suits a model whose own sampler this is: of consistency models few steps, and next to no guidance."""
    method = of_sampler(sampler)
    return {use: method.defaults(usual) for use, usual in USUAL.items()} if method else USUAL


def _defaults(sampler: str, unet: Config, vae: Config) -> Mapping[str, Defaults]:
    """The same, with the guidance that a model takes as an input; one that edits by instruction begins with noise."""
    made = dict(defaults_of(sampler))
    if unet["time_cond_proj_dim"] is not None:
        made = {use: replace(own, guidance_scale=EMBEDDED_GUIDANCE) for use, own in made.items()}
    if unet["in_channels"] == 2 * vae["latent_channels"]:
        made["img2img"] = replace(made["img2img"], strength=1.0)
    return made


def downscale(vae: Config) -> int:
    """Pixels per latent along an edge."""
    blocks = vae.get("block_out_channels") or vae["encoder_block_out_channels"]
    return int(2 ** (len(blocks) - 1))


def default_sampler(config: Config) -> str:
    """The sampler that the checkpoint's scheduler stands for; raises `InputError` for an unknown one."""
    kind = str(config.get("_class_name"))
    if kind in NEAREST:
        return NEAREST[kind]
    if kind in FLOW_SAMPLERS:
        return "lcm" if config.get("stochastic_sampling") else FLOW_SAMPLERS[kind]
    if sampler := _solver(config):
        return sampler
    if kind in ("DEISMultistepScheduler", "DPMSolverSinglestepScheduler"):
        return "deis" if kind.startswith("DEIS") else "dpmpp_2s"
    if kind not in SAMPLERS:
        raise unknown("scheduler", kind, SAMPLERS)
    if kind == "PNDMScheduler" and not config.get("skip_prk_steps", False):
        return "pndm"
    if kind == "DPMSolverMultistepScheduler" and str(config.get("algorithm_type")).startswith("sde"):
        return "dpmpp_3m_sde" if config.get("solver_order") == 3 else "dpmpp_2m_sde"
    return SAMPLERS[kind]


def _solver(config: Config) -> str | None:
    """The sampler of a solver's algorithm and order, where there is one."""
    kind = str(config.get("_class_name"))
    usual = "deis" if kind == "DEISMultistepScheduler" else "dpmsolver++"
    orders = SOLVERS.get((kind, str(config.get("algorithm_type", usual))), {})
    return orders.get(config.get("solver_order", 2))


def default_schedule(config: Config) -> str | None:
    """The schedule that the checkpoint's scheduler asks for by a flag; None where it takes its spacing."""
    complete = _complete(config)
    return next((name for flag, name in SCHEDULES.items() if complete.get(flag)), None)


def schedule_facts(config: Config) -> Mapping[str, Any]:
    """The fields of the runtime's `ModelSchedule` or `FlowSchedule`, with the defaults of the scheduler's own class.

    Raises `InputError` for a schedule of flow matching that the runtime does not follow.
    """
    complete = _complete(config)
    if config.get("_class_name") in FLOW_SAMPLERS:
        if complete.get("invert_sigmas"):
            raise InputError("scheduler_config.json: invert_sigmas is not supported; take a model for pictures")
        named = {field: value for field, value in complete.items() if value is not None and not field.startswith("_")}
        return {"kind": "flow", **named}
    known = {"rescale_betas_zero_snr": False, "steps_offset": 0, "prediction_type": "epsilon"}
    facts = {field: complete.get(field, config.get(field, known.get(field))) for field in SCHEDULE_FIELDS}
    return {**facts, **{field: config[field] for field in SAMPLER_FIELDS if config.get(field) is not None}}


def not_followed(config: Config) -> dict[str, Any]:
    """The settings of the checkpoint's scheduler under which it does other than its sampler here, with their values.

    Raises as `model_facts`.
    """
    sampler = default_sampler(config)
    if (kind := str(config.get("_class_name"))) in NEAREST:
        return {"_class_name": kind}
    if kind in FLOW_SAMPLERS:
        return {}
    done = defaults(_class(config)) | FOLLOWED.get(sampler, {})
    complete = _complete(config)
    if _solver(config):
        done |= {name: complete[name] for name in ("solver_order", "algorithm_type")}
    fields = done.keys() & complete.keys() - {*SCHEDULE_FIELDS, *SAMPLER_FIELDS, *DETAILS, *SCHEDULES}
    return {field: complete[field] for field in sorted(fields) if (complete[field] or None) != (done[field] or None)}


def _class(config: Config) -> Any:
    return getattr(diffusers, str(config.get("_class_name")))


def _complete(config: Config) -> Mapping[str, Any]:
    """The scheduler's configuration with the defaults of its class."""
    kind = str(config.get("_class_name"))
    if str(config.get("algorithm_type")) in ("dpmsolver", "sde-dpmsolver") and "final_sigmas_type" not in config:
        config = {**config, "final_sigmas_type": "sigma_min"}  # older than the field, which diffusers now asks of these
    try:
        return dict(_class(config).from_config(dict(config)).config)
    except ImportError as exc:
        library = "torchsde" if kind == "DPMSolverSDEScheduler" else "scipy"
        raise ExportError(f"scheduler_config.json: diffusers needs {library} for it; pip install {library}") from exc
    except (TypeError, ValueError, NotImplementedError) as exc:
        raise InputError(f"scheduler_config.json: diffusers refuses it ({exc}); correct it") from exc
