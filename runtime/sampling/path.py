"""The path a sampler walks: the noise levels of its evaluations, and where each step leads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError
from ..conventions.convention import CONTRACT, Convention
from .levels import Level, ModelSchedule
from .linear import MODEL, Sum, X


@dataclass(frozen=True)
class Path:
    """The levels of a whole schedule, and the step at which a run enters it."""

    model: ModelSchedule
    levels: tuple[Level, ...]
    """Of every step of the schedule, falling, also of those before `begin`."""
    end: Level
    """Where the last step leads."""
    ve: bool
    """Is the sampler's x variance-exploding, clean + ve * noise, rather than alpha * clean + sigma * noise?"""
    gap: int | None = None
    """Steps lead this many training timesteps down, as in DDIM's paper, rather than to the next level."""
    begin: int = 0
    like: str | None = None
    """Whose habits to keep, flaws included: "diffusers", "a1111", "comfy" or nobody's."""
    habit: Convention = CONTRACT
    """How its steps are taken: those of A1111 or ComfyUI where it is theirs."""
    start: Level | None = None
    """The level that noise is added for, where it is not the first evaluation's."""

    def __iter__(self) -> Iterator[tuple[int, Level, Level]]:
        """(step, the level it starts at, the level it leads to) of the steps that run."""
        for index in range(self.begin, len(self.levels)):
            yield index - self.begin, self.levels[index], self.after(index)

    @property
    def k_diffusion(self) -> bool:
        """Are its habits those of a program that samples with k-diffusion?"""
        return self.like in ("a1111", "comfy")

    @property
    def span(self) -> tuple[float, float]:
        """(Highest, lowest) sigma of the Brownian motion that its noise is cut from, if it is; the lowest is above 0.

        diffusers and A1111 take the whole schedule's, ComfyUI those that run.
        """
        first = self.begin if self.like == "comfy" else 0
        return self.levels[first].ve, self.end.ve or self.levels[-1].ve

    def after(self, index: int) -> Level:
        """Where the step from level `index` leads."""
        if self.gap is not None:
            timestep = self.levels[index].timestep - self.gap
            return self.model.level(timestep) if timestep >= 0 else self.end
        return self.levels[index + 1] if index + 1 < len(self.levels) else self.end

    def before(self, index: int) -> Level:
        """The level whose step leads to level `index`."""
        if self.gap is not None:
            return self.model.level(self.levels[index].timestep + self.gap)
        return self.levels[index - 1]

    def between(self, high: Level, low: Level) -> Level:
        """The level half way in log sigma."""
        return self.at((high.ve * low.ve) ** 0.5)

    def at(self, ve: float) -> Level:
        """The level of a sigma, with the timestep that the model is given there."""
        time = whole_times(self.model, ve) if self.habit.whole_timesteps else self.model.time_of(ve)
        return Level.of_ve(ve, float(time))

    def predict(self, level: Level, x: Sum = X, output: Sum = MODEL) -> tuple[Sum, Sum]:
        """(clean image, unit noise) as the model's `output` says, told at `level` of the sampler's state `x`.

        Epsilon: Ho et al. (arXiv:2006.11239), equation 15. v: Salimans and Ho (arXiv:2202.00512), appendix D.
        Raises `InputError` where the noise is predicted but there is no image left to find by it.
        """
        alpha, sigma = level.alpha, level.sigma
        if self.ve:
            x = alpha * x
        if self.model.prediction_type == "v_prediction":
            return alpha * x - sigma * output, sigma * x + alpha * output
        if self.model.prediction_type == "sample":
            return output, (x - alpha * output) / sigma
        if alpha == 0.0:
            raise InputError("a model that predicts noise cannot start at zero terminal SNR; use leading or linspace")
        return (x - sigma * output) / alpha, output


def whole_times(model: ModelSchedule, sigmas: float | Array) -> Array:
    """The whole timesteps whose sigmas are nearest in their logarithm; of half-way ones the upper."""
    return np.asarray(np.floor(model.time_of(sigmas) + (0.5 + 1e-4)))
