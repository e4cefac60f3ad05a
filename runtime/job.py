"""One request on its way through its plan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..engines.base import Array
from .denoiser import Row
from .sampling.noise import NoiseStream
from .sampling.plan import Plan


class Job:
    """The state of one picture: the plan's slots, and the line that comes next.

    `clean` are the picture's latents, float32 [channels, height, width]; `conditioning` gives (weight, float32
    [tokens, dim]) for every row; weights sum to 1. `noise` is drawn once at the start and once on every noisy line.
    """

    def __init__(
        self,
        plan: Plan,
        clean: Array,
        conditioning: Sequence[tuple[float, Array]],
        noise: NoiseStream,
        guidance_rescale: float = 0.0,
    ) -> None:
        self.plan = plan
        self.line = 0
        self.denoised = clean
        self._conditioning = conditioning
        self._noise = noise
        self._rescale = guidance_rescale
        # The slots, the model's output and the noise: a line of the plan weighs them into new slots.
        self._basis = np.zeros((plan.slots + 2, *clean.shape), np.float32)
        self._basis[0] = lincomb(plan.start, (clean, self._draw()))

    @property
    def done(self) -> bool:
        """Whether every line of the plan has been taken."""
        return self.line == len(self.plan)

    @property
    def latents(self) -> Array:
        """The current latents, float32 [channels, height, width]; the result once done."""
        return np.asarray(self._basis[0])

    def rows(self) -> list[Row]:
        """The evaluations that the next line needs."""
        latents = self.latents * np.float32(self.plan.scale_in[self.line])
        timestep = float(self.plan.timesteps[self.line])
        label = f"evaluation {self.line + 1} of {len(self.plan)}, timestep {timestep:g}"
        return [Row(latents, timestep, embedding, label) for _, embedding in self._conditioning]

    def advance(self, outputs: Sequence[Array]) -> None:
        """Take one line of the plan, given the model's outputs for `rows()` in their order."""
        plan, line = self.plan, self.line
        model = self._guide(outputs)
        self.denoised = lincomb(plan.denoised[line], (self.latents, model))
        self._basis[-2] = model
        if plan.noisy[line]:
            self._basis[-1] = self._draw()
        self._basis[:-2] = [lincomb(weights, self._basis) for weights in plan.matrix[line]]
        self.line += 1

    def _guide(self, outputs: Sequence[Array]) -> Array:
        """The weighted sum of the rows, its spread drawn towards the first row's by `guidance_rescale`.

        Rescaling is equation 15-16 of Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2023.
        """
        guided = lincomb([weight for weight, _ in self._conditioning], outputs)
        if self._rescale and len(outputs) > 1:
            matched = guided * (outputs[0].std(ddof=1) / guided.std(ddof=1))
            guided = self._rescale * matched + (1 - self._rescale) * guided
        return guided.astype(np.float32, copy=False)

    def _draw(self) -> Array:
        return self._noise(self._basis.shape[1:])


def lincomb(weights: Sequence[float] | Array, arrays: Sequence[Array] | Array) -> Array:
    """The weighted sum of arrays, float32 of their shape; an array of weight 0 is not read.

    Not a matrix product: a BLAS would wake its threads against the engine's for a few microseconds of work.
    """
    terms = [np.float32(weight) * array for weight, array in zip(weights, arrays, strict=True) if weight]
    total = terms[0] if terms else np.zeros_like(arrays[0])
    for term in terms[1:]:
        total += term
    return total
