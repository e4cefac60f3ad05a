"""Noise levels, and the noise schedule of a model that was trained on betas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError, unknown

PREDICTIONS = ("epsilon", "v_prediction", "sample")
SPACINGS = ("leading", "linspace", "trailing")

# The share of the image that is left at the last timestep of a schedule rescaled to zero terminal SNR, for samplers
# that count in sigma and cannot use an infinite one. diffusers uses the same number.
SMALLEST_ABAR = 2.0**-24


@dataclass(frozen=True)
class Level:
    """A noise level: x = alpha * clean + sigma * noise.

    alpha² + sigma² = 1 of betas (the variance-preserving process), alpha + sigma = 1 of flow matching.
    """

    alpha: float
    sigma: float
    timestep: float
    """What the model is told at this level."""

    @classmethod
    def of_abar(cls, abar: float, timestep: float = 0.0) -> Level:
        """The level that leaves `abar` of the image's variance (the cumulative product of 1 - beta)."""
        return cls(math.sqrt(abar), math.sqrt(1.0 - abar), timestep)

    @classmethod
    def of_ve(cls, ve: float, timestep: float = 0.0) -> Level:
        """The level at which x / alpha = clean + ve * noise."""
        alpha = 1.0 / math.hypot(1.0, ve)
        return cls(alpha, ve * alpha, timestep)

    @property
    def ve(self) -> float:
        """Noise per unit of image, sigma / alpha: the sigma of k-diffusion."""
        return self.sigma / self.alpha if self.alpha else math.inf

    @property
    def abar(self) -> float:
        """The share of the image's variance that is left; of betas."""
        return self.alpha**2

    @property
    def log_snr(self) -> float:
        """log(alpha / sigma), the lambda of DPM-Solver; half the logarithm of the signal-to-noise ratio."""
        return -math.log(self.ve) if self.ve else math.inf


@dataclass(frozen=True)
class ModelSchedule:
    """The facts of a model that its sampling depends on, named as in a diffusers scheduler_config.json.

    The defaults are Stable Diffusion 1.x. Raises `InputError` for facts that make no schedule.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "scaled_linear"
    trained_betas: tuple[float, ...] | None = None
    prediction_type: str = "epsilon"
    timestep_spacing: str | None = None
    """None: each sampler's own default in diffusers ("leading" for DDIM and PNDM, "linspace" for most)."""
    steps_offset: int = 1
    set_alpha_to_one: bool | None = False
    """Does DDIM or PNDM end at a clean image, or at the level of timestep 0? None: its own default in diffusers."""
    final_sigmas_type: str = "zero"
    rescale_betas_zero_snr: bool = False

    def __post_init__(self) -> None:
        if self.beta_schedule not in BETAS:
            raise unknown("beta schedule", self.beta_schedule, BETAS)
        if self.prediction_type not in PREDICTIONS:
            raise unknown("prediction type", self.prediction_type, PREDICTIONS)
        if self.timestep_spacing is not None and self.timestep_spacing not in SPACINGS:
            raise unknown("timestep spacing", self.timestep_spacing, SPACINGS)
        if self.final_sigmas_type not in ("zero", "sigma_min"):
            raise unknown("final sigma", self.final_sigmas_type, ("zero", "sigma_min"))
        if self.num_train_timesteps < 2 or self.steps_offset < 0:
            raise InputError("a model needs at least 2 training timesteps and an offset of 0 or more")
        if self.trained_betas is not None and len(self.trained_betas) != self.num_train_timesteps:
            raise InputError(f"{len(self.trained_betas)} betas for {self.num_train_timesteps} training timesteps")
        if not ((self.betas > 0) & (self.betas < 1)).all():
            raise InputError("a beta is not between 0 and 1; check beta_start, beta_end and trained_betas")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ModelSchedule:
        """From a diffusers scheduler_config.json; keys that say nothing about the noise schedule are passed over.

        A key that is missing has diffusers' default, not Stable Diffusion's.
        """
        facts: dict[str, Any] = {
            "beta_start": 0.0001,
            "beta_end": 0.02,
            "beta_schedule": "linear",
            "steps_offset": 0,
            "set_alpha_to_one": None,
        }
        facts |= {field.name: config[field.name] for field in fields(cls) if field.name in config}
        if facts.get("trained_betas") is not None:
            facts["trained_betas"] = tuple(float(beta) for beta in facts["trained_betas"])
        return cls(**facts)

    @cached_property
    def betas(self) -> Array:
        """[train] float32, before any rescaling to zero terminal SNR."""
        if self.trained_betas is not None:
            return np.array(self.trained_betas, dtype=np.float32)
        return BETAS[self.beta_schedule](self.beta_start, self.beta_end, self.num_train_timesteps)

    @cached_property
    def abar(self) -> Array:
        """[train] float64 of float32 numbers, the cumulative product of 1 - beta.

        They are rounded where torch rounds them, because those are the levels a model was trained at; at the least
        noise that is a matter of 1e-5. Zero terminal SNR is Algorithm 1 of Lin et al., "Common Diffusion Noise
        Schedules and Sample Steps are Flawed" (arXiv:2305.08891): sqrt(abar) is shifted to end at 0 and scaled to keep
        its beginning.
        """
        abar: Array = np.cumprod(np.float32(1) - self.betas, dtype=np.float64)
        if self.rescale_betas_zero_snr:
            root = np.sqrt(abar)
            abar = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
        return abar.astype(np.float32).astype(np.float64)

    @cached_property
    def sigmas(self) -> Array:
        """[train] float64, rising: k-diffusion's sigma of every training timestep, always finite."""
        abar = np.maximum(self.abar, SMALLEST_ABAR) if self.rescale_betas_zero_snr else self.abar
        return np.asarray(np.sqrt((1.0 - abar) / abar))

    @cached_property
    def log_sigmas(self) -> Array:
        """[train] float64 of float32 numbers; so rounded they decide which whole timestep lies below a sigma."""
        return np.log(self.sigmas.astype(np.float32)).astype(np.float64)

    @property
    def last_timestep(self) -> int:
        """The timestep of most noise."""
        return self.num_train_timesteps - 1

    @property
    def depends_on_size(self) -> bool:
        """Betas do not depend on the picture."""
        return False

    def fitted(self, latent_shape: Sequence[int] | None, grid: str) -> ModelSchedule:
        """Itself."""
        return self

    def level(self, timestep: float) -> Level:
        """The level of a whole training timestep, exactly."""
        return Level.of_abar(float(self.abar[int(timestep)]), float(timestep))

    def level_of(self, sigma: float, timestep: float) -> Level:
        """The level of a sigma, at which the model is told `timestep`."""
        return Level.of_ve(sigma, timestep)

    def level_of_ratio(self, ratio: float) -> Level:
        """The level of a sigma, with its own timestep."""
        return Level.of_ve(ratio, float(self.time_of(ratio)))

    def ratio_at(self, strength: float) -> float:
        """The sigma of timestep strength * (last timestep)."""
        return float(self.sigmas_at(strength * self.last_timestep))

    def sigma_of(self, level: Level) -> float:
        """Noise per unit of image."""
        return level.ve

    def exploding(self, level: Level) -> Level:
        """The level itself: its `ve` is the sigma as it is."""
        return level

    def weights(self, level: Level, ve: bool) -> tuple[float, float]:
        """Weights of (clean latents, unit noise) in x at a level, which is clean + ve * noise where it is `ve`."""
        return (1.0, level.ve) if ve else (level.alpha, level.sigma)

    def pure_noise(self, level: Level, ve: bool, image: bool) -> float:
        """The weight of pure noise as x at a level; `image`: with the variance that the image would have."""
        return math.hypot(level.ve, 1.0 if image else 0.0) if ve else 1.0

    def sigmas_at_linear(self, times: float | Array) -> Array:
        """Sigmas of fractional timesteps, linear between whole ones as in diffusers' schedulers."""
        return np.asarray(np.interp(times, np.arange(self.num_train_timesteps), self.sigmas))

    def sigmas_at(self, times: float | Array) -> Array:
        """Sigmas of fractional timesteps, linear in log sigma as in k-diffusion; undoes `time_of`."""
        return np.asarray(np.exp(np.interp(times, np.arange(self.num_train_timesteps), self.log_sigmas)))

    def time_of(self, sigmas: float | Array, whole: bool = False) -> Array:
        """Fractional timesteps of sigmas, linear in log sigma and held at the ends, as in diffusers and k-diffusion.

        `whole`: the whole timesteps whose sigmas are nearest in their logarithm; of half-way ones the upper.
        """
        logs = np.log(np.maximum(sigmas, 1e-10))
        times = np.interp(logs, self.log_sigmas, np.arange(self.num_train_timesteps))
        return np.asarray(np.floor(times + (0.5 + 1e-4)) if whole else times)

    def ancestral(self, high: float, low: float, eta: float) -> tuple[float, float, float]:
        """(The sigma to step down to, 1, the sigma of noise to add there) of an ancestral step from `high` to `low`.

        k-diffusion's get_ancestral_step; with eta = 1 the variance added is the posterior's, equation 7 of DDPM.
        """
        up = min(low, eta * low * math.sqrt(1.0 - (low / high) ** 2))
        return math.sqrt(low**2 - up**2), 1.0, up


def _linear(start: float, end: float, count: int) -> Array:
    return np.linspace(start, end, count, dtype=np.float32)


def _scaled_linear(start: float, end: float, count: int) -> Array:
    roots: Array = np.linspace(math.sqrt(start), math.sqrt(end), count, dtype=np.float32)
    return roots**2


def _squared_cosine(start: float, end: float, count: int) -> Array:
    """Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models" (arXiv:2102.09672), equation 17."""
    abar = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.asarray(np.minimum(1.0 - abar[1:] / abar[:-1], 0.999), dtype=np.float32)


BETAS = {"linear": _linear, "scaled_linear": _scaled_linear, "squaredcos_cap_v2": _squared_cosine}
