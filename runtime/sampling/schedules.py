"""Noise schedules: which noise levels `steps` evaluations happen at, from most noise to least.

Two kinds. A *spacing* picks training timesteps. The others give sigmas, from the model's facts and the range
`high` ... `low`, and where peers disagree, diffusers decides. All numbers are float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError
from .levels import ModelSchedule
from .noise_schedule import NoiseSchedule

# Sabour et al., "Align Your Steps" (arXiv:2404.14507): the tables of its quickstart, 10 steps and the end.
ALIGNED = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
ALIGNED_XL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)

DISTILLED_STEPS = 50
"""The timesteps that consistency models (LCM, TCD) were distilled at: `original_inference_steps` of diffusers."""


def spaced(model: ModelSchedule, spacing: str, steps: int, grid: str) -> Array:
    """[steps] training timesteps, falling; Table 2 of Lin et al. (arXiv:2305.08891) as diffusers reads it.

    `grid` is how a family of diffusers' schedulers reads it: "fraction" (those on k-diffusion) may give fractional
    timesteps, "whole" (DDIM and its kin) rounds them, "open" (DPM-Solver, UniPC) rounds and leaves out the lowest of
    one point more. One step on linspace is the timestep of *most* noise; numpy's linspace of one point, and so
    diffusers, takes the one of least noise on the first two grids. Raises `InputError` where the steps do not fit.
    """
    train, points = model.num_train_timesteps, steps + (grid == "open")
    if spacing == "leading":
        times = np.arange(points - 1, -1, -1)[:steps] * (train // points) + float(model.steps_offset)
    elif spacing == "trailing":
        times = np.round(train - np.arange(steps) * (train / steps)) - 1.0
    else:
        times = np.linspace(train - 1, 0, points)[:steps]
        times = times if grid == "fraction" else np.round(times)
    if times[0] >= train or (steps > 1 and np.diff(times).max() >= 0):
        raise InputError(f"{steps} steps do not fit on the {spacing} spacing of {train} timesteps; ask for fewer steps")
    return times


def distilled(model: ModelSchedule, steps: int) -> Array:
    """[steps] timesteps, falling, spread over those that a consistency model was distilled at.

    Luo et al., "Latent Consistency Models" (arXiv:2310.04378), in the spread of diffusers' LCMScheduler.
    Raises `InputError` for more steps than those.
    """
    if steps > DISTILLED_STEPS:
        raise InputError(f"{steps} steps are more than the {DISTILLED_STEPS} a consistency model knows; ask for fewer")
    known = np.arange(DISTILLED_STEPS, 0, -1) * (model.num_train_timesteps // DISTILLED_STEPS) - 1.0
    return np.asarray(known[np.floor(np.linspace(0, DISTILLED_STEPS, steps, endpoint=False)).astype(int)])


def karras(model: NoiseSchedule, steps: int, high: float, low: float) -> Array:
    """Karras et al. (arXiv:2206.00364), equation 5 with rho = 7; as diffusers and k-diffusion."""
    return karras_ramp(steps, high, low)


def karras_ramp(steps: int, high: float, low: float) -> Array:
    """[steps] sigmas from `high` to `low`, even in their seventh root."""
    rho = 7.0
    ramp = np.linspace(0, 1, steps)
    return np.asarray((high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho)


def exponential(model: NoiseSchedule, steps: int, high: float, low: float) -> Array:
    """Even steps in log sigma; as diffusers and k-diffusion."""
    return np.asarray(np.exp(np.linspace(math.log(high), math.log(low), steps)))


def polyexponential(model: NoiseSchedule, steps: int, high: float, low: float) -> Array:
    """A power of even steps in log sigma; k-diffusion's, whose default power 1 (A1111's too) makes it exponential."""
    rho = 1.0
    return np.asarray(np.exp(np.linspace(1, 0, steps) ** rho * math.log(high / low) + math.log(low)))


def beta(model: NoiseSchedule, steps: int, high: float, low: float) -> Array:
    """Quantiles of Beta(0.6, 0.6) stretched over the *sigmas*; Lee et al. (arXiv:2407.12173) as diffusers and A1111.

    ComfyUI stretches them over the timesteps instead.
    """
    return low + beta_quantile(1 - np.linspace(0, 1, steps), 0.6) * (high - low)


def sgm_uniform(model: NoiseSchedule, steps: int, high: float, low: float) -> Array:
    """Even steps in time, the lowest left out; ComfyUI's and A1111's, after Stability's generative-models."""
    return model.sigmas_at(np.linspace(model.time_of(high), model.time_of(low), steps + 1)[:-1])


def normal(model: NoiseSchedule, steps: int, high: float, low: float) -> Array:
    """Even steps in time, both ends included; ComfyUI's and A1111's (there also "Uniform")."""
    return model.sigmas_at(np.linspace(model.time_of(high), model.time_of(low), steps))


def simple(model: NoiseSchedule, steps: int, high: float, low: float) -> Array:
    """Every (train / steps)-th trained sigma from the highest, the place cut to a whole one; ComfyUI's and A1111's."""
    places = np.array([int(i * (len(model.sigmas) / steps)) for i in range(steps)])
    return np.asarray(model.sigmas[-1 - places])


def ddim_uniform(model: NoiseSchedule, steps: int, high: float, low: float) -> Array:
    """Every (train // steps)-th trained sigma from the second lowest; ComfyUI's and A1111's.

    Theirs run more steps than were asked for where `steps` does not divide the training steps; here the extra ones,
    at the noisy end, are left out.
    """
    places = np.arange(steps - 1, -1, -1) * (len(model.sigmas) // steps)
    return np.asarray(model.sigmas[min(1, len(model.sigmas) - 1 - places[0]) + places])


def align_your_steps(model: NoiseSchedule, steps: int, high: float, low: float) -> Array:
    """NVIDIA's table for Stable Diffusion 1.5, log-linear between its entries for other than 10 steps.

    Its last entry stands for the end, as in diffusers and ComfyUI; A1111 evaluates the model there.
    """
    return _aligned(ALIGNED, steps)


def align_your_steps_xl(model: NoiseSchedule, steps: int, high: float, low: float) -> Array:
    """`align_your_steps` with NVIDIA's table for Stable Diffusion XL."""
    return _aligned(ALIGNED_XL, steps)


def _aligned(table: tuple[float, ...], steps: int) -> Array:
    places = np.linspace(0, len(table) - 1, steps + 1)[:-1]
    return np.asarray(np.exp(np.interp(places, np.arange(len(table)), np.log(table))))


def kl_optimal(model: NoiseSchedule, steps: int, high: float, low: float) -> Array:
    """Even steps in arctan sigma; Sabour et al. (arXiv:2404.14507), section 3.1, as ComfyUI: the lowest, then 0.

    A1111's ends at the lowest sigma, which leaves its noise in the image.
    """
    return np.asarray(np.tan(np.linspace(math.atan(high), math.atan(low), steps)))


def linear_quadratic(model: NoiseSchedule, steps: int, high: float, low: float) -> Array:
    """A line over the first half of the steps, 2.5 % of the way down, then a parabola to 0; ComfyUI's, as Mochi."""
    bend, first = 0.025, steps // 2
    if steps == 1:
        return np.array([high])
    k = np.arange(steps - first)
    line, slope = np.arange(first) * bend / first, bend / first
    left = steps - first
    curve = bend + slope * k + (1 - bend - slope * left) * (k / left) ** 2
    return np.asarray((1 - np.concatenate([line, curve])) * high)


def beta_quantile(levels: Array, shape: float) -> Array:
    """Quantiles, in [0, 1], of the symmetric distribution Beta(shape, shape), to about 1e-15.

    Bisection on the power series of the incomplete beta function (DLMF 8.17.7 with 15.2.1), which converges like 2^-k
    on the lower half; the upper half is its mirror image.
    """
    k = np.arange(60)
    factors = np.cumprod(np.concatenate([[1.0], (k[:-1] + 1 - shape) / (k[:-1] + 1)])) / (shape + k)
    scale = math.gamma(2 * shape) / math.gamma(shape) ** 2
    lower = np.minimum(levels, 1 - levels)
    bottom, top = np.zeros_like(lower), np.full_like(lower, 0.5)
    for _ in range(70):
        middle = (bottom + top) / 2
        below = scale * middle**shape * np.polynomial.polynomial.polyval(middle, factors) < lower
        bottom, top = np.where(below, middle, bottom), np.where(below, top, middle)
    return np.asarray(np.where(levels <= 0.5, bottom, 1 - bottom))


SIGMA_SCHEDULES: dict[str, Callable[[NoiseSchedule, int, float, float], Array]] = {
    function.__name__: function
    for function in (
        karras,
        exponential,
        polyexponential,
        beta,
        sgm_uniform,
        normal,
        simple,
        ddim_uniform,
        align_your_steps,
        align_your_steps_xl,
        kl_optimal,
        linear_quadratic,
    )
}
