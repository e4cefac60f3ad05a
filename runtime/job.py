"""One request on its way through its plan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..engines import buffers
from ..engines.base import Array, ModelOutputError
from .denoiser import Row
from .sampling.noise import NoiseStream
from .sampling.plan import Plan
from .state import lincomb, new_state


class Job:
    """The state of one picture, and the line of its plan that comes next.

    `clean` are the picture's latents, float32 [channels, height, width]; `conditioning` gives (weight, float32
    [tokens, dim]) for every row; weights sum to 1. All of them live on one device, and so does everything made of
    them. `noise` is drawn on the host, once at the start and once on every noisy line.
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
        self.device = buffers.device_of(clean)
        self._shape = clean.shape
        self._weights = [weight for weight, _ in conditioning]
        self._embeddings = [embedding for _, embedding in conditioning]
        self._noise = noise
        self._rescale = guidance_rescale if len(conditioning) > 1 else 0.0
        start = lincomb(plan.start, (clean, self._draw()))
        self._state = new_state(plan, [1.0] if self._rescale else self._weights, start)

    @property
    def done(self) -> bool:
        """Whether every line of the plan has been taken."""
        return self.line == len(self.plan)

    @property
    def latents(self) -> Array:
        """The current latents, float32 [channels, height, width]; the result once done."""
        return self._state.latents

    @property
    def denoised(self) -> Array:
        """The model's current idea of the clean latents, float32 [channels, height, width]."""
        return self._state.denoised

    def rows(self) -> list[Row]:
        """The evaluations that the next line needs."""
        latents = self._state.scaled(self.line)
        timestep = self._state.timesteps[self.line : self.line + 1]
        return [Row(latents, timestep, embedding) for embedding in self._embeddings]

    def advance(self, outputs: Sequence[Array]) -> None:
        """Take one line of the plan, given the model's outputs for `rows()` in their order.

        Raises `ModelOutputError` for NaN or infinity at once on the host; on a device, where the answer has to be
        waited for, `check` does.
        """
        if self._rescale:
            outputs = [rescaled(self._weights, outputs, self._rescale)]
        self._state.take(self.line, outputs, self._draw() if self.plan.noisy[self.line] else None)
        self.line += 1
        if self.device == "cpu":
            self.check()

    def check(self) -> None:
        """Raise `ModelOutputError` for the first line whose model output was NaN or infinite; waits for the device."""
        spoilt = buffers.to_host(self._state.spoilt)
        if spoilt.any():
            line = int(spoilt.argmax())
            raise ModelOutputError(
                f"unet returned NaN or infinity at evaluation {line + 1} of {len(self.plan)}, "
                f"timestep {self.plan.timesteps[line]:g}; "
                "the bundle's weights or its precision are at fault, try one exported in float32"
            )

    def _draw(self) -> Array:
        return buffers.to_device(self._noise(self._shape), self.device)


def rescaled(weights: Sequence[float], outputs: Sequence[Array], amount: float) -> Array:
    """The weighted sum of the model's outputs, its spread drawn towards the first one's by `amount`.

    Equation 15-16 of Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2023. Its reductions
    are kernels of their own on a GPU, whose results stay there.
    """
    guided = lincomb(weights, outputs)
    matched = guided * (outputs[0].std(ddof=1) / guided.std(ddof=1))
    mixed: Array = amount * matched + (1 - amount) * guided
    return mixed.astype(np.float32, copy=False)
