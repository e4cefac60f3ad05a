"""One request on its way through its plan."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np

from ..engines import buffers
from ..engines.base import Array, ModelOutputError
from .denoiser import Row
from .imaging.tiles import Mosaic
from .sampling.noise import NoiseStream
from .sampling.plan import Plan
from .state import lincomb, new_state


@dataclass(frozen=True, eq=False)
class Guide:
    """What one row of a line is told, and what its output counts in the sum.

    `embedding` float32 [tokens, dim]; `area` float32 [height, width], or None for 1 everywhere, multiplies the weight.
    The weights of a line's guides sum to 1 at every position.
    """

    weight: float
    embedding: Array
    area: Array | None = None


class Edit(Protocol):
    """Changes the latents between two lines."""

    @property
    def shifts(self) -> tuple[float, ...]:
        """Drifts that were measured, in standard deviations."""
        ...

    def __call__(self, line: int, latents: Array, denoised: Array, noise: Array | None) -> Array:
        """The latents to go on with after `line`; `denoised` is the model's idea of the clean ones, `noise` what the
        line drew."""
        ...


@dataclass(frozen=True, eq=False)
class Mark:
    """A job between two lines, on the host: the lines taken, the slots, noise to come, and the drift seen."""

    line: int
    slots: Array
    denoised: Array
    noise: NoiseStream
    drift: tuple[float, ...]


class Job:
    """The state of one picture, and the line of its plan that comes next.

    `start` are the latents to begin with, float32 [channels, height, width]; `guides` those of every line. All arrays
    live on one device, and so does everything made of them. `noise` is drawn on the host on every noisy line.
    `beside`, float32 [channels, height, width], goes into the model below the latents. With a `mosaic` every guide is
    one row a window, joined before anything else. `edits` are made after every line, in their order.
    """

    def __init__(
        self,
        plan: Plan,
        start: Array,
        guides: Sequence[Sequence[Guide]],
        noise: NoiseStream,
        *,
        guidance_rescale: float = 0.0,
        beside: Array | None = None,
        mosaic: Mosaic | None = None,
        edits: Sequence[Edit] = (),
    ) -> None:
        self.plan = plan
        self.line = 0
        self.device = buffers.device_of(start)
        self._shape = start.shape
        self._guides = guides
        self._noise = noise
        self._rescale = guidance_rescale
        self._beside = beside
        self._mosaic = mosaic
        self._edits = edits
        self._drifted: tuple[float, ...] = ()
        # The state sums the outputs itself where only numbers weigh them.
        weights = [[1.0] if self._sums(line) else [guide.weight for guide in line] for line in guides]
        self._state = new_state(plan, weights, start)

    @property
    def drift(self) -> tuple[float, ...]:
        """What the edits measured of each pass that has ended; see `edits.Drift`."""
        return self._drifted + tuple(shift for edit in self._edits for shift in edit.shifts)

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
        """The evaluations that the next line needs: guide by guide, and of each its windows."""
        latents = self._state.scaled(self.line)
        timestep = self._state.timesteps[self.line : self.line + 1]
        if self._beside is not None:
            latents = buffers.namespace(self.device).concatenate([latents, self._beside])
        windows = self._mosaic.cut(latents) if self._mosaic else [latents]
        return [Row(window, timestep, guide.embedding) for guide in self._guides[self.line] for window in windows]

    def advance(self, outputs: Sequence[Array]) -> None:
        """Take one line of the plan, given the model's outputs for `rows()` in their order.

        Raises `ModelOutputError` for NaN or infinity at once on the host; on a device, where the answer has to be
        waited for, `check` does.
        """
        line, guides = self.line, self._guides[self.line]
        if self._mosaic:
            parts = iter(outputs)
            outputs = [self._mosaic.join(list(islice(parts, len(self._mosaic)))) for _ in guides]
        if self._sums(guides):
            outputs = [combined(guides, outputs, self._rescale)]
        noise = self._draw() if self.plan.noisy[line] else None
        self._state.take(line, outputs, noise)
        self.line += 1
        if self.device == "cpu":
            self.check()
        latents = self.latents
        for edit in self._edits:
            latents = edit(line, latents, self.denoised, noise)
        if self._edits:
            self._state.put(self.line, latents)

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

    def mark(self) -> Mark:
        """Where the job is, to go on from later; waits for the device."""
        slots = np.stack([buffers.to_host(slot) for slot in self._state.slots])
        return Mark(self.line, slots, buffers.to_host(self.denoised).copy(), copy.deepcopy(self._noise), self.drift)

    def resume(self, mark: Mark) -> None:
        """Go to where another job of the same plan and shapes was; the lines before are not run."""
        self.line, self._noise, self._drifted = mark.line, copy.deepcopy(mark.noise), mark.drift
        slots, denoised = (buffers.to_device(array, self.device) for array in (mark.slots, mark.denoised))
        self._state.restore(self.line, slots, denoised)

    def _sums(self, guides: Sequence[Guide]) -> bool:
        """Whether the line's outputs are summed here."""
        return bool(self._rescale and len(guides) > 1) or any(guide.area is not None for guide in guides)

    def _draw(self) -> Array:
        return buffers.to_device(self._noise(self._shape), self.device)


def combined(guides: Sequence[Guide], outputs: Sequence[Array], rescale: float) -> Array:
    """The weighted sum of the guides' outputs, its spread drawn towards the first one's by `rescale`.

    The rescaling is equation 15-16 of Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2023.
    Its reductions are kernels of their own on a GPU, whose results stay there.
    """
    terms = [
        output if guide.area is None else output * guide.area for guide, output in zip(guides, outputs, strict=True)
    ]
    guided = lincomb([guide.weight for guide in guides], terms)
    if not rescale or len(guides) < 2:
        return guided
    matched = guided * (outputs[0].std(ddof=1) / guided.std(ddof=1))
    mixed: Array = rescale * matched + (1 - rescale) * guided
    return mixed.astype(np.float32, copy=False)
