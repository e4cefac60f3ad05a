"""The path a sampler walks: the noise levels of its evaluations, and where each step leads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ...errors import InputError
from ..conventions.convention import CONTRACT, Convention
from .levels import Level
from .linear import MODEL, Sum, X
from .noise_schedule import NoiseSchedule


@dataclass(frozen=True)
class Path:
    """The levels of a whole schedule, and the step at which a run enters it."""

    model: NoiseSchedule
    levels: tuple[Level, ...]
    """Of every step of the schedule, falling, also of those before `begin`."""
    end: Level
    """Where the last step leads."""
    ve: bool
    """Is the sampler's x variance-exploding, rather than alpha * clean + sigma * noise? See `NoiseSchedule`."""
    gap: int | None = None
    """Steps lead this many training timesteps down, as in DDIM's paper, rather than to the next level."""
    begin: int = 0
    like: str | None = None
    """Whose habits to keep, flaws included: "diffusers", "a1111", "comfy" or nobody's."""
    habit: Convention = CONTRACT
    """How its steps are taken: those of A1111 or ComfyUI where it is theirs."""
    start: Level | None = None
    """The level that noise is added for, where it is not the first evaluation's."""
    closes: bool = False
    """Does the last step lead to `end` whatever the gap?"""

    def __iter__(self) -> Iterator[tuple[int, Level, Level]]:
        """(step, the level it starts at, the level it leads to) of the steps that run."""
        for index in range(self.begin, len(self.levels)):
            yield index - self.begin, self.levels[index], self.after(index)

    @property
    def k_diffusion(self) -> bool:
        """Are its habits those of a program that samples with k-diffusion?"""
        return self.like in ("a1111", "comfy")

    @property
    def flows(self) -> bool:
        """Is the model a flow-matching one?"""
        return self.model.prediction_type == "velocity"

    @property
    def span(self) -> tuple[float, float]:
        """(Highest, lowest) sigma of the Brownian motion that its noise is cut from, if it is; the lowest is above 0.

        diffusers and A1111 take the whole schedule's, ComfyUI those that run.
        """
        first = self.levels[0]
        if self.like == "comfy":
            first = self.start or self.levels[self.begin]
        return self.model.sigma_of(first), self.model.sigma_of(self.end) or self.model.sigma_of(self.levels[-1])

    def after(self, index: int) -> Level:
        """Where the step from level `index` leads."""
        if self.gap is not None and not (self.closes and index + 1 == len(self.levels)):
            timestep = self.levels[index].timestep - self.gap
            return self.model.level(timestep) if timestep >= 0 else self.end
        return self.levels[index + 1] if index + 1 < len(self.levels) else self.end

    def before(self, index: int) -> Level:
        """The level whose step leads to level `index`."""
        if self.gap is not None:
            return self.model.level(self.levels[index].timestep + self.gap)
        return self.levels[index - 1]

    def exploding(self) -> Path:
        """The path with the levels that its sampler works on, where that is a variance-exploding one."""
        if not self.ve:
            return self
        see = self.model.exploding
        return replace(self, levels=tuple(map(see, self.levels)), end=see(self.end))

    def between(self, high: Level, low: Level) -> Level:
        """The level half way in log sigma."""
        return self.at((high.ve * low.ve) ** 0.5)

    def at(self, sigma: float) -> Level:
        """The level of a sigma, with the timestep that the model is given there."""
        level = self.model.level_of(sigma, float(self.model.time_of(sigma, self.habit.whole_timesteps)))
        return self.model.exploding(level) if self.ve else level

    def predict(self, level: Level, x: Sum = X, output: Sum = MODEL) -> tuple[Sum, Sum]:
        """(clean image, unit noise) as the model's `output` says, told at `level` of the sampler's state `x`.

        Epsilon: Ho et al. (arXiv:2006.11239), equation 15. v: Salimans and Ho (arXiv:2202.00512), appendix D. Velocity,
        noise - clean: Lipman et al. (arXiv:2210.02747); a variance-exploding sampler gets it in the noise's place.
        Raises `InputError` where the noise is predicted but there is no image left to find by it.
        """
        alpha, sigma = level.alpha, level.sigma
        if self.ve:
            x = alpha * x
        if self.flows:
            clean = x - sigma * output
            return clean, output if self.ve else clean + output
        if self.model.prediction_type == "v_prediction":
            return alpha * x - sigma * output, sigma * x + alpha * output
        if self.model.prediction_type == "sample":
            return output, (x - alpha * output) / sigma
        if alpha == 0.0:
            raise InputError("a model that predicts noise cannot start at zero terminal SNR; use leading or linspace")
        return (x - sigma * output) / alpha, output
