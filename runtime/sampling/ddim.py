"""Samplers that predict the clean image and step to a lower noise level in one go; x is variance-preserving."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .linear import NOISE, Line, X
from .path import Path


def ddim(path: Path, eta: float) -> Iterator[Line]:
    """Song et al., "Denoising Diffusion Implicit Models" (arXiv:2010.02502), equations 12 and 16.

    The noise of equation 16 is written in sigma / alpha, which holds for levels of flow matching too.
    """
    for step, here, there in path:
        x0, eps = path.predict(here)
        std = eta * there.sigma * math.sqrt(1.0 - (there.ve / here.ve) ** 2)
        x = there.alpha * x0 + math.sqrt(there.sigma**2 - std**2) * eps + std * NOISE
        yield Line(step, here, {"x": x})


def ddpm(path: Path) -> Iterator[Line]:
    """Ho et al. (arXiv:2006.11239), Algorithm 2 with the small variance of equation 7: DDIM with eta = 1."""
    return ddim(path, eta=1.0)


def lcm(path: Path) -> Iterator[Line]:
    """Luo et al., "Latent Consistency Models" (arXiv:2310.04378), Algorithm 3, with the skip of equation 9.

    Models of flow matching have no skip: diffusers' FlowMatchLCMScheduler.
    """
    data, scaling = 0.5, 10.0
    skips = path.habit.lcm_boundary and not path.flows
    for step, here, there in path:
        x0, _ = path.predict(here)
        time = scaling * here.timestep if skips else math.inf
        clean = x0 if time == math.inf else time / math.hypot(time, data) * x0 + data**2 / (time**2 + data**2) * X
        yield Line(step, here, {"x": there.alpha * clean + there.sigma * NOISE})


def tcd(path: Path, eta: float) -> Iterator[Line]:
    """Zheng et al., "Trajectory Consistency Distillation" (arXiv:2402.19159), Algorithm 4; `eta` is its gamma."""
    for step, here, there in path:
        x0, eps = path.predict(here)
        low = path.model.level(math.floor((1.0 - eta) * there.timestep)) if eta else there
        low = min(low, there, key=lambda level: level.ve)
        ratio = min(1.0, there.abar / low.abar)
        x = math.sqrt(ratio) * (low.alpha * x0 + low.sigma * eps) + math.sqrt(1.0 - ratio) * NOISE
        yield Line(step, here, {"x": x})
