"""The noise schedule of flow matching: x = (1 - t) * image + t * noise, and the model predicts noise - image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError, unknown
from .levels import Level, ModelSchedule

FLOW_SPACINGS = ("linspace", "trailing")
SHIFT_TYPES = ("exponential", "linear")
# The settings of diffusers' scheduler that ask for a named schedule.
CURVES = {"use_karras_sigmas": "karras", "use_exponential_sigmas": "exponential", "use_beta_sigmas": "beta"}
# What a configuration may ask for that is not followed here, and why.
NOT_FOLLOWED = {
    "invert_sigmas": "it counts time from noise to image, which only video models use",
    "scale_factors": "it changes the latents' size between steps",
}
SIZELESS = "this model's schedule depends on the picture's size; plan it with the latents' shape"
COMFY_FLUX_POINTS = 10_000
"""The entries of ComfyUI's table for models that shift by the picture's size (ModelSamplingFlux)."""


@dataclass(frozen=True)
class FlowSchedule:
    """The facts of a flow-matching model, named as in the config of diffusers' FlowMatchEulerDiscreteScheduler.

    Its sigma is t in [0, 1], the share of noise, and the model is told t * num_train_timesteps. It satisfies
    `NoiseSchedule`, which describes the methods. Raises `InputError` for facts that make no schedule.
    """

    num_train_timesteps: int = 1000
    shift: float = 1.0
    use_dynamic_shifting: bool = False
    """Does the shift depend on the number of image tokens, rather than being `shift`?"""
    base_shift: float = 0.5
    max_shift: float = 1.15
    base_image_seq_len: int = 256
    max_image_seq_len: int = 4096
    time_shift_type: str = "exponential"
    shift_terminal: float | None = None
    """Spacings are stretched to end at this sigma before 0; None: they are not."""
    stochastic_sampling: bool = False
    """Does diffusers' scheduler replace all noise at every step? That is the sampler "lcm" here."""
    curve: str | None = None
    """The named schedule where a request names none: "karras", "exponential", "beta", or None, the spacing."""
    timestep_spacing: str = "linspace"
    """"linspace": to the lowest trained sigma (the scheduler alone, Stable Diffusion 3); "trailing": to 1 / steps (Flux
    and the pipelines after it)."""
    patch_size: int = 2
    """Latents along the edge of an image token."""
    tokens: int | None = None
    """The image tokens that dynamic shifting goes by; see `fitted`."""
    points: int | None = None
    """How many `sigmas` there are; None: one a training timestep."""

    def __post_init__(self) -> None:
        if self.time_shift_type not in SHIFT_TYPES:
            raise unknown("time shift type", self.time_shift_type, SHIFT_TYPES)
        if self.timestep_spacing not in FLOW_SPACINGS:
            raise unknown("timestep spacing of flow matching", self.timestep_spacing, FLOW_SPACINGS)
        if self.curve is not None and self.curve not in CURVES.values():
            raise unknown("schedule of a flow-matching model", self.curve, CURVES.values())
        for name in ("num_train_timesteps", "base_image_seq_len", "max_image_seq_len", "patch_size"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise InputError(f"{name} is {value!r}; it must be a whole number of at least 1")
        for name in ("shift", "base_shift", "max_shift"):
            value = getattr(self, name)
            if not isinstance(value, Real) or not math.isfinite(value):
                raise InputError(f"{name} is {value!r}; it must be a number")
        if self.num_train_timesteps < 2 or self.shift <= 0:
            raise InputError("a flow-matching model needs at least 2 training timesteps and a shift above 0")
        if self.use_dynamic_shifting and self.base_image_seq_len == self.max_image_seq_len:
            raise InputError("base_image_seq_len and max_image_seq_len are equal; dynamic shifting needs two lengths")
        if self.shift_terminal is not None and not 0 < self.shift_terminal < 1:
            raise InputError(f"shift_terminal is {self.shift_terminal!r}; it must be between 0 and 1")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> FlowSchedule:
        """From a diffusers scheduler_config.json, or from the facts of a manifest; other keys are passed over.

        Raises `InputError` for settings that are not followed, and for contradictions.
        """
        for name, reason in NOT_FOLLOWED.items():
            if config.get(name):
                raise InputError(f"{name} is not supported: {reason}")
        if (prediction := config.get("prediction_type", "velocity")) != "velocity":
            raise InputError(f"a flow-matching model predicts 'velocity', not {prediction!r}")
        if len(asked := [flag for flag in CURVES if config.get(flag)]) > 1:
            raise InputError(f"{' and '.join(asked)} contradict each other; set one of them")
        facts = {field.name: config[field.name] for field in fields(cls) if config.get(field.name) is not None}
        return cls(**({"curve": CURVES[asked[0]]} if asked else {}) | facts)

    @property
    def prediction_type(self) -> str:
        """Always "velocity": noise - image."""
        return "velocity"

    @property
    def last_timestep(self) -> int:
        """The timestep of pure noise."""
        return self.num_train_timesteps

    @cached_property
    def factor(self) -> float:
        """What sigmas are shifted by: Esser et al. (arXiv:2403.03206), equation 23.

        Dynamic shifting takes it from the image tokens n: mu is linear in n through (base_image_seq_len, base_shift)
        and (max_image_seq_len, max_shift), and the factor is e^mu, or mu itself where `time_shift_type` is "linear".
        Raises `InputError` where the tokens are not known, or too few or many for the line.
        """
        if not self.use_dynamic_shifting:
            return self.shift
        if self.tokens is None:
            raise InputError(SIZELESS)
        slope = (self.max_shift - self.base_shift) / (self.max_image_seq_len - self.base_image_seq_len)
        mu = self.base_shift + slope * (self.tokens - self.base_image_seq_len)
        if self.time_shift_type == "exponential":
            return math.exp(mu)
        if mu <= 0:
            raise InputError(f"a picture of {self.tokens} tokens has the linear shift {mu:g}; take another size")
        return mu

    def shifted(self, times: Array) -> Array:
        """The sigmas that unshifted ones in [0, 1] become."""
        return np.asarray(self.factor * times / (1 + (self.factor - 1) * times))

    @cached_property
    def sigmas(self) -> Array:
        """[points] float64, rising to 1: the trained sigmas, shifted."""
        points = self.points or self.num_train_timesteps
        return self.shifted(np.arange(1, points + 1) / points)

    def spaced(self, spacing: str, steps: int) -> Array:
        """[steps] sigmas from 1, falling, as diffusers' scheduler (`linspace`) or its pipelines (`trailing`) have them.

        A fixed shift is applied to the lowest sigma of "linspace" twice, as there. `shift_terminal` needs two steps.
        """
        low = 1 / steps
        if spacing == "linspace":
            low = 1 / self.num_train_timesteps if self.use_dynamic_shifting else float(self.sigmas[0])
        sigmas = self.shifted(np.linspace(1.0, low, steps))
        if self.shift_terminal is not None and steps > 1:
            sigmas = 1 - (1 - sigmas) * (1 - self.shift_terminal) / (1 - sigmas[-1])
        return sigmas

    @property
    def depends_on_size(self) -> bool:
        """Does the shift depend on the picture, of which nothing is known yet?"""
        return self.use_dynamic_shifting and self.tokens is None

    def fitted(self, latent_shape: Sequence[int] | None, grid: str) -> FlowSchedule:
        """The schedule for latents (..., height, width); where the shift is fixed, itself.

        Raises `InputError` where dynamic shifting is not told a shape.
        """
        if not self.use_dynamic_shifting:
            return self
        tokens = self.tokens
        if latent_shape is not None:
            height, width = (max(int(length) // self.patch_size, 1) for length in latent_shape[-2:])
            tokens = height * width
        elif tokens is None:
            raise InputError(SIZELESS)
        return replace(self, tokens=tokens, points=COMFY_FLUX_POINTS if grid == "comfy" else None)

    def level(self, timestep: float) -> Level:
        """The level of a timestep, which may be fractional."""
        return self.level_of(timestep / self.num_train_timesteps, timestep)

    def level_of(self, sigma: float, timestep: float) -> Level:
        """The level of a share of noise; raises `InputError` for one outside [0, 1]."""
        if not 0.0 <= sigma <= 1.0:
            raise InputError(f"a sigma of {sigma:g} is asked for; those of flow matching are from 0 to 1")
        return Level(1.0 - sigma, sigma, timestep)

    def level_of_ratio(self, ratio: float) -> Level:
        """The level at which noise : image is `ratio`."""
        sigma = ratio / (1.0 + ratio)
        return self.level_of(sigma, float(self.time_of(sigma)))

    def ratio_at(self, strength: float) -> float:
        """Noise : image where the strength is the share of noise itself, whatever the shift."""
        return strength / (1.0 - strength)

    def sigma_of(self, level: Level) -> float:
        """The share of noise."""
        return level.sigma

    def exploding(self, level: Level) -> Level:
        """x = image + t * velocity is variance-exploding in the velocity."""
        return Level(1.0, level.sigma, level.timestep)

    def weights(self, level: Level, ve: bool) -> tuple[float, float]:
        """(1 - t, t), whatever the sampler: x is the same."""
        return 1.0 - level.sigma, level.sigma

    def pure_noise(self, level: Level, ve: bool, image: bool) -> float:
        """t, as if the image were zeros: 1 but where a schedule begins below pure noise, as ComfyUI."""
        return level.sigma

    def time_of(self, sigmas: float | Array, whole: bool = False) -> Array:
        """t * num_train_timesteps; no program rounds it."""
        return np.asarray(sigmas) * self.num_train_timesteps

    def sigmas_at(self, times: float | Array) -> Array:
        """The shifted times; where the shift is not 1 this does not undo `time_of`, as in ComfyUI."""
        return self.shifted(np.asarray(times) / self.num_train_timesteps)

    def ancestral(self, high: float, low: float, eta: float) -> tuple[float, float, float]:
        """Steps below `low`, then noise brings x back to it: ComfyUI's sample_euler_ancestral_RF."""
        down = low * (1.0 + (low / high - 1.0) * eta)
        keep = (1.0 - low) / (1.0 - down)
        return down, keep, math.sqrt(max(low**2 - (down * keep) ** 2, 0.0))


def schedule_from_config(config: Mapping[str, Any]) -> ModelSchedule | FlowSchedule:
    """The noise schedule of a manifest's scheduler facts, or of a diffusers scheduler_config.json.

    `kind` says which, "betas" or "flow"; without it a `_class_name` of FlowMatch... or the prediction "velocity" means
    flow matching, and everything else betas. Raises `InputError` for an unknown kind and for facts that make no
    schedule.
    """
    flows = str(config.get("_class_name", "")).startswith("FlowMatch") or config.get("prediction_type") == "velocity"
    kind = config.get("kind", "flow" if flows else "betas")
    if kind not in KINDS:
        raise unknown("kind of noise schedule", str(kind), KINDS)
    return KINDS[kind].from_config(config)


KINDS: Mapping[str, type[ModelSchedule] | type[FlowSchedule]] = {"betas": ModelSchedule, "flow": FlowSchedule}
