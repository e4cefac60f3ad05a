"""Nodes that give sigmas, and change them."""

from __future__ import annotations

import numpy as np

from ...bundles.tensor import Array
from ..context import Context
from ..node import node, outputs
from ..sigmas import (
    aligned_sigmas,
    exponential_sigmas,
    karras_sigmas,
    scheduler_sigmas,
    turbo_sigmas,
    variance_preserving_sigmas,
)
from ..sockets import Number, choice, decimal, integer, link
from ..values import Diffusion
from .sampling import SCHEDULER, STEPS

SIGMAS = link("SIGMAS")
GIVES = outputs("SIGMAS")
PLACE = "sampling/custom_sampling/schedulers"
CHANGES = "sampling/custom_sampling/sigmas"


def _sigma(usual: float) -> Number:
    return decimal(usual, 0.0, 5000.0, 0.01, round=False)


HIGH, LOW, RHO = _sigma(14.614642), _sigma(0.0291675), decimal(7.0, 0.0, 100.0, 0.01, round=False)


@node(
    "BasicScheduler",
    needed={"model": link("MODEL"), "scheduler": SCHEDULER, "steps": STEPS, "denoise": decimal(1.0, 0.0, 1.0)},
    outputs=GIVES,
    category=PLACE,
)
def basic_scheduler(context: Context, model: Diffusion, scheduler: str, steps: int, denoise: float) -> Array:
    """A schedule by its name, the last steps of a longer one where `denoise` is below 1."""
    return scheduler_sigmas(model.model, scheduler, steps, denoise)


@node(
    "KarrasScheduler",
    needed={"steps": STEPS, "sigma_max": HIGH, "sigma_min": LOW, "rho": RHO},
    outputs=GIVES,
    category=PLACE,
)
def karras_scheduler(context: Context, steps: int, sigma_max: float, sigma_min: float, rho: float) -> Array:
    """Karras and others' schedule, even in a root of sigma."""
    return karras_sigmas(steps, sigma_max, sigma_min, rho)


@node(
    "ExponentialScheduler",
    needed={"steps": STEPS, "sigma_max": HIGH, "sigma_min": LOW},
    outputs=GIVES,
    category=PLACE,
)
def exponential_scheduler(context: Context, steps: int, sigma_max: float, sigma_min: float) -> Array:
    """Even steps in log sigma."""
    return exponential_sigmas(steps, sigma_max, sigma_min)


@node(
    "PolyexponentialScheduler",
    needed={"steps": STEPS, "sigma_max": HIGH, "sigma_min": LOW, "rho": decimal(1.0, 0.0, 100.0, 0.01, round=False)},
    outputs=GIVES,
    category=PLACE,
)
def polyexponential_scheduler(context: Context, steps: int, sigma_max: float, sigma_min: float, rho: float) -> Array:
    """A power of even steps in log sigma."""
    return exponential_sigmas(steps, sigma_max, sigma_min, rho)


@node(
    "VPScheduler",
    needed={
        "steps": STEPS,
        "beta_d": _sigma(19.9),
        "beta_min": _sigma(0.1),
        "eps_s": decimal(0.001, 0.0, 1.0, 0.0001, round=False),
    },
    outputs=GIVES,
    category=PLACE,
)
def vp_scheduler(context: Context, steps: int, beta_d: float, beta_min: float, eps_s: float) -> Array:
    """Even times of a continuous process that preserves variance."""
    return variance_preserving_sigmas(steps, beta_d, beta_min, eps_s)


@node(
    "SDTurboScheduler",
    needed={"model": link("MODEL"), "steps": integer(1, 1, 10), "denoise": decimal(1.0, 0.0, 1.0)},
    outputs=GIVES,
    category=PLACE,
)
def sd_turbo_scheduler(context: Context, model: Diffusion, steps: int, denoise: float) -> Array:
    """The timesteps that SD-Turbo was distilled at."""
    return turbo_sigmas(model.model, steps, denoise)


@node(
    "AlignYourStepsScheduler",
    needed={
        "model_type": choice(("SD1", "SDXL", "SVD")),
        "steps": integer(10, 1, 10000),
        "denoise": decimal(1.0, 0.0, 1.0),
    },
    outputs=GIVES,
    category=PLACE,
)
def align_your_steps_scheduler(context: Context, model_type: str, steps: int, denoise: float) -> Array:
    """NVIDIA's tables for a kind of models."""
    return aligned_sigmas(model_type, steps, denoise)


@node(
    "SplitSigmas",
    needed={"sigmas": SIGMAS, "step": integer(0, 0, 10000)},
    outputs=outputs(("SIGMAS", "high_sigmas"), ("SIGMAS", "low_sigmas")),
    category=CHANGES,
)
def split_sigmas(context: Context, sigmas: Array, step: int) -> tuple[Array, Array]:
    """The sigmas before and after a step."""
    return sigmas[: step + 1], sigmas[step:]


@node(
    "SplitSigmasDenoise",
    needed={"sigmas": SIGMAS, "denoise": decimal(1.0, 0.0, 1.0)},
    outputs=outputs(("SIGMAS", "high_sigmas"), ("SIGMAS", "low_sigmas")),
    category=CHANGES,
)
def split_sigmas_denoise(context: Context, sigmas: Array, denoise: float) -> tuple[Array, Array]:
    """The sigmas before the last steps, and theirs: as many as `denoise` says."""
    steps = max(len(sigmas) - 1, 0)
    kept = round(steps * denoise)
    return sigmas[: len(sigmas) - kept], sigmas[-(kept + 1) :]


@node("FlipSigmas", needed={"sigmas": SIGMAS}, outputs=GIVES, category=CHANGES)
def flip_sigmas(context: Context, sigmas: Array) -> Array:
    """Sigmas from the last to the first: from a picture to noise."""
    flipped = sigmas[::-1].copy()
    if len(flipped) and flipped[0] == 0:
        flipped[0] = 0.0001
    return flipped


@node(
    "SetFirstSigma",
    needed={"sigmas": SIGMAS, "sigma": decimal(136.0, 0.0, 20000.0, 0.001, round=False)},
    outputs=GIVES,
    category=CHANGES,
)
def set_first_sigma(context: Context, sigmas: Array, sigma: float) -> Array:
    """Sigmas with another one at the beginning."""
    changed = np.array(sigmas)
    changed[:1] = sigma
    return changed
