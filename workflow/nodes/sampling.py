"""The two samplers that most workflows have."""

from __future__ import annotations

from typing import Any

from ..context import Context
from ..node import node, outputs
from ..sampling import sample
from ..sigmas import SAMPLERS, SCHEDULERS, evaluations, scheduler_sigmas
from ..sockets import choice, decimal, integer, link
from ..values import Conditioned, Diffusion, Latents, Noise, SamplerChoice, guided

SEED = integer(0, 0, 2**64 - 1, control_after_generate=True)
STEPS = integer(20, 1, 10000)
CFG = decimal(8.0, 0.0, 100.0, 0.1, round=0.01)
SAMPLER = choice(SAMPLERS)
SCHEDULER = choice(SCHEDULERS)


def _cost(steps: Any = 20, sampler_name: Any = "euler", **others: Any) -> int:
    return evaluations(str(sampler_name), int(steps))


@node(
    "KSampler",
    needed={
        "model": link("MODEL"),
        "seed": SEED,
        "steps": STEPS,
        "cfg": CFG,
        "sampler_name": SAMPLER,
        "scheduler": SCHEDULER,
        "positive": link("CONDITIONING"),
        "negative": link("CONDITIONING"),
        "latent_image": link("LATENT"),
        "denoise": decimal(1.0, 0.0, 1.0),
    },
    outputs=outputs("LATENT"),
    category="sampling",
    cost=_cost,
)
def k_sampler(
    context: Context,
    model: Diffusion,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Conditioned,
    negative: Conditioned,
    latent_image: Latents,
    denoise: float,
) -> Latents:
    """Latents painted anew: `denoise` is how much of the noise is added before."""
    sigmas = scheduler_sigmas(model.model, scheduler, steps, denoise, sampler_name, latent_image.samples.shape)
    guider = guided(model, positive, negative, cfg)
    return sample(context, guider, Noise(seed), SamplerChoice(sampler_name), sigmas, latent_image)[0]


def _part_cost(
    steps: Any = 20, sampler_name: Any = "euler", start_at_step: Any = 0, end_at_step: Any = 10000, **others: Any
) -> int:
    count = max(min(int(steps), int(end_at_step)) - int(start_at_step), 0)
    return evaluations(str(sampler_name), count)


@node(
    "KSamplerAdvanced",
    needed={
        "model": link("MODEL"),
        "add_noise": choice(("enable", "disable")),
        "noise_seed": SEED,
        "steps": STEPS,
        "cfg": CFG,
        "sampler_name": SAMPLER,
        "scheduler": SCHEDULER,
        "positive": link("CONDITIONING"),
        "negative": link("CONDITIONING"),
        "latent_image": link("LATENT"),
        "start_at_step": integer(0, 0, 10000),
        "end_at_step": integer(10000, 0, 10000),
        "return_with_leftover_noise": choice(("disable", "enable")),
    },
    outputs=outputs("LATENT"),
    display="KSampler (Advanced)",
    category="sampling",
    cost=_part_cost,
)
def k_sampler_advanced(
    context: Context,
    model: Diffusion,
    add_noise: str,
    noise_seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Conditioned,
    negative: Conditioned,
    latent_image: Latents,
    start_at_step: int,
    end_at_step: int,
    return_with_leftover_noise: str,
) -> Latents:
    """Some steps of a schedule, whose noise may be left for another sampler."""
    sigmas = scheduler_sigmas(model.model, scheduler, steps, 1.0, sampler_name, latent_image.samples.shape)
    if end_at_step < len(sigmas) - 1:
        sigmas = sigmas[: end_at_step + 1].copy()
        if return_with_leftover_noise == "disable":
            sigmas[-1] = 0
    sigmas = sigmas[start_at_step:]
    guider = guided(model, positive, negative, cfg)
    noise = Noise(noise_seed, add_noise == "enable")
    return sample(context, guider, noise, SamplerChoice(sampler_name), sigmas, latent_image)[0]
