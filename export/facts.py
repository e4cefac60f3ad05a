"""The facts of a model that the runtime reads from the manifest, taken from a checkpoint's configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffusers

from ..engines.base import InputError, unknown
from ..engines.bundle import ModelFacts
from .checkpoint import Checkpoint
from .components import Config, latent_size

FAMILY = "stable-diffusion"

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


def model_facts(checkpoint: Checkpoint, name: str) -> ModelFacts:
    """The facts of a model that shall be called `name`; raises `InputError` for a scheduler that cannot be used."""
    unet, vae, scheduler = (checkpoint.configs[part] for part in ("unet", "vae", "scheduler"))
    scale = downscale(vae)
    width, height = latent_size(unet)
    return ModelFacts(
        name=name,
        family=FAMILY,
        latent_channels=vae["latent_channels"],
        downscale=scale,
        multiple=scale,
        scaling_factor=float(vae["scaling_factor"]),
        shift_factor=float(vae["shift_factor"] or 0.0),
        default_size=(width * scale, height * scale),
        default_sampler=default_sampler(scheduler),
        scheduler=schedule_facts(scheduler),
        origin=checkpoint.origin,
    )


def downscale(vae: Config) -> int:
    """Pixels per latent along an edge."""
    blocks = vae.get("block_out_channels") or vae["encoder_block_out_channels"]
    return int(2 ** (len(blocks) - 1))


def default_sampler(config: Config) -> str:
    """The sampler that the checkpoint's scheduler stands for; raises `InputError` for an unknown one."""
    kind = str(config.get("_class_name"))
    if kind not in SAMPLERS:
        raise unknown("scheduler", kind, SAMPLERS)
    if kind == "PNDMScheduler" and not config.get("skip_prk_steps", False):
        return "pndm"
    if kind == "DPMSolverMultistepScheduler" and str(config.get("algorithm_type")).startswith("sde"):
        return "dpmpp_3m_sde" if config.get("solver_order") == 3 else "dpmpp_2m_sde"
    return SAMPLERS[kind]


def schedule_facts(config: Config) -> Mapping[str, Any]:
    """The fields of `overpaint.runtime.sampling.ModelSchedule`, with the defaults of the scheduler's own class."""
    kind = getattr(diffusers, str(config.get("_class_name")))
    try:
        complete = kind.from_config(dict(config)).config
    except (TypeError, ValueError, NotImplementedError) as exc:
        raise InputError(f"scheduler_config.json: diffusers refuses it ({exc}); correct it") from exc
    defaults = {"rescale_betas_zero_snr": False, "steps_offset": 0, "prediction_type": "epsilon"}
    facts = {field: complete.get(field, defaults.get(field)) for field in SCHEDULE_FIELDS}
    return {**facts, **{field: config[field] for field in SAMPLER_FIELDS if config.get(field) is not None}}
