"""One request on its way through its plan."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Protocol

import numpy as np

from ...bundles.tensor import Array
from ...engines.arrays import device_of, namespace, to_device, to_host
from ...errors import ModelOutputError
from ..imaging.tiles import Mosaic
from ..sampling.brownian import BrownianNoise
from ..sampling.noise import NoiseStream
from ..sampling.plan import Plan
from .blend import Blend
from .denoiser import Row
from .state import lincomb, new_state


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What one row of a line is told, and what its output counts in the sum.

    `embedding` float32 [tokens, dim]; `area` float32 [height, width], or None for 1 everywhere, multiplies the weight.
    The weights of a line's conditionings sum to 1 at every position.
    """

    weight: float
    embedding: Array
    area: Array | None = None


class Drawn:
    """Noise that was drawn before, round and round."""

    def __init__(self, draws: Sequence[Array]) -> None:
        self._draws = cycle(draws)

    def __call__(self, shape: tuple[int, ...], origin: tuple[int, int] = (0, 0)) -> Array:
        """The next draw, where it lies."""
        return next(self._draws)


class StepHook(Protocol):
    """Changes the latents between two lines."""

    @property
    def drift(self) -> tuple[float, ...]:
        """Drifts that were measured, in standard deviations."""
        ...

    def __call__(self, line: int, latents: Array, denoised: Array, noise: Array | None) -> Array:
        """The latents to go on with after `line`; `denoised` is the model's idea of the clean ones, `noise` what the
        line drew."""
        ...


@dataclass(frozen=True, eq=False)
class JobSnapshot:
    """A job between two lines, on the host: the lines taken, the slots, the noise to draw, and the drift so far."""

    line: int
    slots: Array
    denoised: Array
    noise: NoiseStream
    drift: tuple[float, ...]


class Job:
    """The state of one picture, and the line of its plan that comes next.

    `start` are the latents to begin with, float32 [channels, height, width]; `conditionings` those of every line. All
    arrays live on one device, and so does everything made of them. `noise` is drawn on the host on every noisy line.
    `concat_latents`, float32 [channels, height, width], goes into the model below the latents. With a `mosaic` every
    conditioning is one row a window, joined before anything else. `step_hooks` are called after every line, in their
    order. The `motion` gives the noise of the plan's Brownian lines. A `blend` puts what a mask keeps into every
    prediction.
    """

    def __init__(
        self,
        plan: Plan,
        start: Array,
        conditionings: Sequence[Sequence[Conditioning]],
        noise: NoiseStream,
        *,
        guidance_rescale: float = 0.0,
        concat_latents: Array | None = None,
        mosaic: Mosaic | None = None,
        step_hooks: Sequence[StepHook] = (),
        motion: BrownianNoise | None = None,
        blend: Blend | None = None,
    ) -> None:
        self.plan = plan
        self.line = 0
        self.device = device_of(start)
        self._shape = start.shape
        self._conditionings = conditionings
        self._noise = noise
        self._motion = motion
        self._rescale = guidance_rescale
        self._concat_latents = concat_latents
        self._mosaic = mosaic
        self._step_hooks = step_hooks
        self._blend = blend
        self._drifted: tuple[float, ...] = ()
        self._outputs: dict[int, Array] = {}
        # The state sums the outputs itself where only numbers weigh them.
        weights = [
            [1.0] if self._sums(line) else [conditioning.weight for conditioning in line] for line in conditionings
        ]
        self._state = new_state(plan, weights, start)

    @property
    def drift(self) -> tuple[float, ...]:
        """What the step_hooks measured of each pass that has ended; see `step_hooks.Drift`."""
        return self._drifted + tuple(move for hook in self._step_hooks for move in hook.drift)

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

    @property
    def paste_levels(self) -> Array | None:
        """How much of the result counts, uint8 [height, width] of the latents, where the blend decides it."""
        return self._blend.levels(self.latents) if self._blend is not None else None

    def rows(self) -> list[Row]:
        """The evaluations that the next line needs: conditioning by conditioning, and of each its windows."""
        latents = self._state.scaled(self.line)
        if self._blend is not None:
            latents = self._blend.seen(self.line, latents)
        timestep = self._state.timesteps[self.line : self.line + 1]
        if self._concat_latents is not None:
            latents = namespace(self.device).concatenate([latents, self._concat_latents])
        windows = self._mosaic.cut(latents) if self._mosaic else [latents]
        return [
            Row(window, timestep, conditioning.embedding)
            for conditioning in self._conditionings[self.line]
            for window in windows
        ]

    def receive(self, index: int, output: Array) -> None:
        """Take the model's output for one of `rows()`; a window's is joined with the others at once."""
        if self._mosaic:
            index, window = divmod(index, len(self._mosaic))
            output = self._mosaic.add(self._outputs.get(index), window, output)
        self._outputs[index] = output

    def advance(self) -> None:
        """Take one line of the plan, after all the outputs that it needs.

        Raises `ModelOutputError` for NaN or infinity at once on the host; on a device, where the answer has to be
        waited for, `check` does.
        """
        line, conditionings = self.line, self._conditionings[self.line]
        outputs = [self._outputs.pop(index) for index in range(len(conditionings))]
        if self._sums(conditionings):
            outputs = [combined(conditionings, outputs, self._rescale)]
        if self._blend is not None:
            outputs = [self._blend.output(line, self.latents, outputs[0])]
        noise = self._draw(line) if self.plan.noisy[line] else None
        self._state.take(line, outputs, noise)
        self.line += 1
        if self.device == "cpu":
            self.check()
        latents = self.latents
        for hook in self._step_hooks:
            latents = hook(line, latents, self.denoised, noise)
        if self._blend is not None and self.done:
            latents = self._blend.end(latents)
        if latents is not self.latents:
            self._state.put(self.line, latents)

    def check(self) -> None:
        """Raise `ModelOutputError` for the first line whose model output was NaN or infinite; waits for the device."""
        nonfinite = to_host(self._state.nonfinite)
        if nonfinite.any():
            line = int(nonfinite.argmax())
            raise ModelOutputError(
                f"unet returned NaN or infinity at evaluation {line + 1} of {len(self.plan)}, "
                f"timestep {self.plan.timesteps[line]:g}; "
                "the bundle's weights or its precision are at fault, try one exported in float32"
            )

    def capture_key(self) -> Hashable | None:
        """What a CUDA graph of all lines is the same for: everything but `inputs`. None where there can be no such
        graph: on the host, on the way, where something is done between lines, with windows, areas, `concat_latents`."""
        areas = any(conditioning.area is not None for line in self._conditionings for conditioning in line)
        apart = self._step_hooks or self._blend is not None or self._mosaic or areas or self._concat_latents is not None
        if self.device == "cpu" or self.line or apart:
            return None
        places = {id(embedding): place for place, embedding in enumerate(self._embeddings())}
        told = tuple(
            tuple(
                (conditioning.weight, places[id(conditioning.embedding)], conditioning.embedding.shape)
                for conditioning in line
            )
            for line in self._conditionings
        )
        return self.plan, self._shape, told, self._rescale

    def inputs(self) -> list[Array]:
        """What differs between jobs of a form: the latents, each embedding, each line's noise, drawn by this."""
        noises = [self._draw(int(line)) for line in np.flatnonzero(self.plan.noisy)]
        return [self.latents, *self._embeddings(), *noises]

    def rebind(self, inputs: Sequence[Array]) -> Job:
        """A job of the same form on other `inputs`, in their order; its noise comes round once all lines are taken."""
        start, *others = inputs
        embeddings = self._embeddings()
        told = {id(own): other for own, other in zip(embeddings, others, strict=False)}
        conditionings = [
            [replace(conditioning, embedding=told[id(conditioning.embedding)]) for conditioning in line]
            for line in self._conditionings
        ]
        return Job(self.plan, start, conditionings, Drawn(others[len(embeddings) :]), guidance_rescale=self._rescale)

    def restart(self, start: Array) -> None:
        """Go back to the beginning, with the latents `start`."""
        xp = namespace(self.device)
        slots = xp.stack([start, *[xp.zeros_like(start)] * (self.plan.slots - 1)])
        self.line = 0
        self._state.restore(self.line, slots, start)

    def finish(self, other: Job) -> None:
        """Go to where another job of the same form has ended."""
        self.line = len(self.plan)
        self._state.restore(self.line, other._state.slots, other.denoised.copy())
        self._state.nonfinite[...] = other._state.nonfinite

    def _embeddings(self) -> list[Array]:
        """Each once, in the order of the lines."""
        return list(
            {
                id(conditioning.embedding): conditioning.embedding
                for line in self._conditionings
                for conditioning in line
            }.values()
        )

    def snapshot(self) -> JobSnapshot:
        """Where the job is, to go on from later; waits for the device."""
        slots = np.stack([to_host(slot) for slot in self._state.slots])
        return JobSnapshot(self.line, slots, to_host(self.denoised).copy(), copy.deepcopy(self._noise), self.drift)

    def resume(self, mark: JobSnapshot) -> None:
        """Go to where another job of the same plan and shapes was; the lines before are not run."""
        self.line, self._noise, self._drifted = mark.line, copy.deepcopy(mark.noise), mark.drift
        slots, denoised = (to_device(array, self.device) for array in (mark.slots, mark.denoised))
        self._state.restore(self.line, slots, denoised)

    def _sums(self, conditionings: Sequence[Conditioning]) -> bool:
        """Whether the line's outputs are summed here."""
        summed = bool(self._rescale and len(conditionings) > 1) or self._blend is not None
        return summed or any(conditioning.area is not None for conditioning in conditionings)

    def _draw(self, line: int) -> Array:
        """The noise of a line: of the motion, if there is one, or the next draw."""
        if self._motion is not None and self.plan.brownian[line]:
            drawn = self._motion(self._shape, self.plan.increment[line], self.plan.span[line])
        else:
            drawn = self._noise(self._shape)
        return to_device(drawn, self.device)


def combined(conditionings: Sequence[Conditioning], outputs: Sequence[Array], rescale: float) -> Array:
    """The weighted sum of the conditionings' outputs, its spread drawn towards the first one's by `rescale`.

    The rescaling is equation 15-16 of Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2023.
    Its reductions are kernels of their own on a GPU, whose results stay there.
    """
    terms = [
        output if conditioning.area is None else output * conditioning.area
        for conditioning, output in zip(conditionings, outputs, strict=True)
    ]
    guided = lincomb([conditioning.weight for conditioning in conditionings], terms)
    if not rescale or len(conditionings) < 2:
        return guided
    matched = guided * (outputs[0].std(ddof=1) / guided.std(ddof=1))
    mixed: Array = rescale * matched + (1 - rescale) * guided
    return mixed.astype(np.float32, copy=False)
