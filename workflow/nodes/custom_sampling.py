"""Samplers whose parts are nodes: noise, guider, sampler, sigmas."""

from __future__ import annotations

from ...bundles.tensor import Array
from ...errors import InputError
from ..context import Context
from ..node import node, outputs
from ..sampling import sample
from ..sockets import choice, decimal, flag, link
from ..values import Conditioned, Diffusion, Guider, Latents, Noise, SamplerChoice, Side, guided
from .sampling import CFG, SAMPLER, SEED

BOTH = outputs(("LATENT", "output"), ("LATENT", "denoised_output"))


@node(
    "SamplerCustom",
    needed={
        "model": link("MODEL"),
        "add_noise": flag(True),
        "noise_seed": SEED,
        "cfg": CFG,
        "positive": link("CONDITIONING"),
        "negative": link("CONDITIONING"),
        "sampler": link("SAMPLER"),
        "sigmas": link("SIGMAS"),
        "latent_image": link("LATENT"),
    },
    outputs=BOTH,
    category="sampling/custom_sampling",
)
def sampler_custom(
    context: Context,
    model: Diffusion,
    add_noise: bool,
    noise_seed: int,
    cfg: float,
    positive: Conditioned,
    negative: Conditioned,
    sampler: SamplerChoice,
    sigmas: Array,
    latent_image: Latents,
) -> tuple[Latents, Latents]:
    """Latents along sigmas; the second are the last that the model predicted."""
    guider = guided(model, positive, negative, cfg)
    return sample(context, guider, Noise(noise_seed, add_noise), sampler, sigmas, latent_image)


@node(
    "SamplerCustomAdvanced",
    needed={
        "noise": link("NOISE"),
        "guider": link("GUIDER"),
        "sampler": link("SAMPLER"),
        "sigmas": link("SIGMAS"),
        "latent_image": link("LATENT"),
    },
    outputs=BOTH,
    category="sampling/custom_sampling",
)
def sampler_custom_advanced(
    context: Context, noise: Noise, guider: Guider, sampler: SamplerChoice, sigmas: Array, latent_image: Latents
) -> tuple[Latents, Latents]:
    """Latents along sigmas; the second are the last that the model predicted."""
    return sample(context, guider, noise, sampler, sigmas, latent_image)


@node(
    "KSamplerSelect",
    needed={"sampler_name": SAMPLER},
    outputs=outputs("SAMPLER"),
    category="sampling/custom_sampling/samplers",
)
def k_sampler_select(context: Context, sampler_name: str) -> SamplerChoice:
    """A sampler by its name."""
    return SamplerChoice(sampler_name)


@node(
    "SamplerEulerAncestral",
    needed={"eta": decimal(1.0, 0.0, 100.0, round=False), "s_noise": decimal(1.0, 0.0, 100.0, round=False)},
    outputs=outputs("SAMPLER"),
    category="sampling/custom_sampling/samplers",
)
def sampler_euler_ancestral(context: Context, eta: float, s_noise: float) -> SamplerChoice:
    """Euler with as much fresh noise as `eta` says."""
    if s_noise != 1:
        raise InputError("s_noise other than 1 is not served; leave it at 1")
    return SamplerChoice("euler_ancestral", eta)


@node(
    "RandomNoise",
    needed={"noise_seed": SEED},
    outputs=outputs("NOISE"),
    category="sampling/custom_sampling/noise",
)
def random_noise(context: Context, noise_seed: int) -> Noise:
    """The noise of a seed."""
    return Noise(noise_seed)


@node("DisableNoise", outputs=outputs("NOISE"), category="sampling/custom_sampling/noise")
def disable_noise(context: Context) -> Noise:
    """No noise is added."""
    return Noise(0, False)


@node(
    "BasicGuider",
    needed={"model": link("MODEL"), "conditioning": link("CONDITIONING")},
    outputs=outputs("GUIDER"),
    category="sampling/custom_sampling/guiders",
)
def basic_guider(context: Context, model: Diffusion, conditioning: Conditioned) -> Guider:
    """A conditioning without guidance."""
    return Guider(model, (Side(conditioning, 1.0),))


@node(
    "CFGGuider",
    needed={
        "model": link("MODEL"),
        "positive": link("CONDITIONING"),
        "negative": link("CONDITIONING"),
        "cfg": CFG,
    },
    outputs=outputs("GUIDER"),
    category="sampling/custom_sampling/guiders",
)
def cfg_guider(context: Context, model: Diffusion, positive: Conditioned, negative: Conditioned, cfg: float) -> Guider:
    """Classifier-free guidance."""
    return guided(model, positive, negative, cfg)


@node(
    "DualCFGGuider",
    needed={
        "model": link("MODEL"),
        "cond1": link("CONDITIONING"),
        "cond2": link("CONDITIONING"),
        "negative": link("CONDITIONING"),
        "cfg_conds": CFG,
        "cfg_cond2_negative": CFG,
    },
    optional={"style": choice(("regular", "nested"))},
    outputs=outputs("GUIDER"),
    category="sampling/custom_sampling/guiders",
)
def dual_cfg_guider(
    context: Context,
    model: Diffusion,
    cond1: Conditioned,
    cond2: Conditioned,
    negative: Conditioned,
    cfg_conds: float,
    cfg_cond2_negative: float,
    style: str = "regular",
) -> Guider:
    """Guidance in two stages: from the negative to the second conditioning, and from there to the first."""
    first = cfg_conds * (cfg_cond2_negative if style == "nested" else 1)
    sides = Side(cond1, first), Side(cond2, cfg_cond2_negative - first), Side(negative, 1 - cfg_cond2_negative, True)
    return Guider(model, sides)
