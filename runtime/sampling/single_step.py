"""Samplers that look at one step only, on k-diffusion's terms: x = clean + ve * noise, and its slope in ve is `eps`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .linear import NOISE, Line, X, array
from .path import Path

SAVED, HALF = array("saved"), array("half")


def euler(path: Path) -> Iterator[Line]:
    """Karras et al. (arXiv:2206.00364), Algorithm 2 without its second half and without churn."""
    for step, here, there in path:
        _, eps = path.predict(here)
        yield Line(step, here, {"x": X + (there.ve - here.ve) * eps})


def euler_a(path: Path, eta: float) -> Iterator[Line]:
    """Ancestral sampling with Euler steps: k-diffusion's sample_euler_ancestral, after DDPM (arXiv:2006.11239)."""
    for step, here, there in path:
        _, eps = path.predict(here)
        down, keep, up = path.model.ancestral(here.ve, there.ve, eta)
        yield Line(step, here, {"x": keep * (X + (down - here.ve) * eps) + up * NOISE})


def heun(path: Path) -> Iterator[Line]:
    """Karras et al. (arXiv:2206.00364), Algorithm 2 without churn: the mean of the slopes at both ends."""
    for step, here, there in path:
        _, eps = path.predict(here)
        rise = (there.ve - here.ve) * eps
        yield Line(step, here, {"x": X + rise, "half": X + 0.5 * rise})
        if there.ve:
            _, eps = path.predict(there)
            yield Line(step, there, {"x": HALF + 0.5 * (there.ve - here.ve) * eps})


def dpm2(path: Path) -> Iterator[Line]:
    """Lu et al., "DPM-Solver" (arXiv:2206.00927), Algorithm 1 with r = 1/2: the slope half way in log sigma."""
    return dpm2_a(path, eta=0.0)


def dpm2_a(path: Path, eta: float) -> Iterator[Line]:
    """`dpm2` with ancestral noise: k-diffusion's sample_dpm_2_ancestral, with diffusers' middle in log sigma."""
    for step, here, there in path:
        _, eps = path.predict(here)
        if not there.ve:
            yield Line(step, here, {"x": X - here.ve * eps})
            continue
        down, keep, up = path.model.ancestral(here.ve, there.ve, eta)
        middle = path.at(math.sqrt(here.ve * down))
        yield Line(step, here, {"x": X + (middle.ve - here.ve) * eps, "saved": X})
        _, eps = path.predict(middle)
        yield Line(step, middle, {"x": keep * (SAVED + (down - here.ve) * eps) + up * NOISE})


def dpmpp_2s_a(path: Path, eta: float) -> Iterator[Line]:
    """DPM-Solver++ (arXiv:2211.01095), Algorithm 1 with r = 1/2, and ancestral noise: k-diffusion's
    sample_dpmpp_2s_ancestral."""
    for step, here, there in path:
        x0, _ = path.predict(here)
        down, _, up = path.model.ancestral(here.ve, there.ve, eta)
        if not down:
            yield Line(step, here, {"x": x0 + up * NOISE})
            continue
        middle = path.at(math.sqrt(here.ve * down))
        decay = middle.ve / here.ve
        yield Line(step, here, {"x": decay * X + (1 - decay) * x0, "saved": X})
        x0, _ = path.predict(middle)
        decay = down / here.ve
        yield Line(step, middle, {"x": decay * SAVED + (1 - decay) * x0 + up * NOISE})


def dpmpp_sde(path: Path, eta: float) -> Iterator[Line]:
    """DPM-Solver++ (arXiv:2211.01095), Algorithm 1 as an SDE: k-diffusion's sample_dpmpp_sde with r = 1/2.

    The noise is that of one Brownian motion in sigma, so a step's noise contains the noise of its first half.
    """
    for step, here, there in path:
        x0, _ = path.predict(here)
        if not there.ve:
            yield Line(step, here, {"x": x0})
            continue
        middle = path.between(here, there)
        down, _, up = path.model.ancestral(here.ve, middle.ve, eta)
        decay = down / here.ve
        half = {"x": decay * X + (1 - decay) * x0 + up * NOISE, "saved": X}
        high, mid, low = _increments(here.ve, there.ve, path.like == "comfy")
        yield Line(step, here, half, (high, mid))
        x0, _ = path.predict(middle)
        down, _, up = path.model.ancestral(here.ve, there.ve, eta)
        decay = down / here.ve
        yield Line(step, middle, {"x": decay * SAVED + (1 - decay) * x0 + up * NOISE}, (high, low))


def _increments(high: float, low: float, direct: bool) -> tuple[float, float, float]:
    """The sigmas of a step's beginning, middle and end as k-diffusion's float32 logarithms have them.

    A Brownian motion tells times apart that differ by a millionth. `direct`: are the ends what they are, as in ComfyUI?
    """

    def rounded(value: float) -> float:
        return float(np.float32(value))

    ends = rounded(high), rounded(low)
    start, end = (-rounded(math.log(sigma)) for sigma in ends)
    middle = rounded(start + rounded(end - start) / 2)
    first, second, third = (rounded(math.exp(-time)) for time in (start, middle, end))
    return (ends[0], second, ends[1]) if direct else (first, second, third)
