"""What a sampler's path, a strength and a plan need of a model's noise schedule, whatever the model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...bundles.tensor import Array
from .levels import Level


class NoiseSchedule(Protocol):
    """The noise schedule of a model: `levels.ModelSchedule` from betas, `flow.FlowSchedule` from flow matching.

    A *sigma* is the schedule's own number of a level: of betas the noise per unit of image (k-diffusion's), of flow
    matching the share of noise. Every schedule can be read as variance-exploding, x = image + sigma * direction: the
    direction is the unit noise of betas, and the velocity of flow matching.
    """

    @property
    def prediction_type(self) -> str:
        """What the model predicts: "epsilon", "v_prediction", "sample" or "velocity"."""
        ...

    @property
    def num_train_timesteps(self) -> int:
        """The timesteps that the model was trained at."""
        ...

    @property
    def sigmas(self) -> Array:
        """[n] float64, rising and finite: the trained sigmas, of which programs take their schedules."""
        ...

    @property
    def depends_on_size(self) -> bool:
        """Does `fitted` need the latents' shape?"""
        ...

    def fitted(self, latent_shape: Sequence[int] | None, grid: str) -> NoiseSchedule:
        """The schedule for latents of a shape (..., height, width), as the program whose `grid` it is has it.

        Raises `InputError` where it depends on a shape that is not given.
        """
        ...

    def level(self, timestep: float) -> Level:
        """The level of a timestep that the model was trained at."""
        ...

    def level_of(self, sigma: float, timestep: float) -> Level:
        """The level of a sigma, at which the model is told `timestep`; raises `InputError` for none of its sigmas."""
        ...

    def level_of_ratio(self, ratio: float) -> Level:
        """The level of `ratio` units of noise per unit of image, with the timestep that the model is told there."""
        ...

    def ratio_at(self, strength: float) -> float:
        """Units of noise per unit of image at a strength between 0 and 1, as the convention "continuous" means it."""
        ...

    def sigma_of(self, level: Level) -> float:
        """The sigma of a level, also of an `exploding` one."""
        ...

    def exploding(self, level: Level) -> Level:
        """The level as samplers on x = image + sigma * direction see it: its `ve` is the sigma."""
        ...

    def weights(self, level: Level, ve: bool) -> tuple[float, float]:
        """Weights of (clean latents, unit noise) that make x at a level; `ve`: of a variance-exploding sampler."""
        ...

    def pure_noise(self, level: Level, ve: bool, image: bool) -> float:
        """The weight of the unit noise that alone is x at the first level; `image`: with the image's variance too."""
        ...

    def time_of(self, sigmas: float | Array, whole: bool = False) -> Array:
        """What the model is told at sigmas; `whole`: the nearest whole timesteps, where a program rounds them."""
        ...

    def sigmas_at(self, times: float | Array) -> Array:
        """Sigmas of fractional timesteps, as ComfyUI's `model_sampling.sigma` has them."""
        ...

    def ancestral(self, high: float, low: float, eta: float) -> tuple[float, float, float]:
        """(Sigma to step down to, weight of x there, weight of fresh noise) of an ancestral step between sigmas."""
        ...
