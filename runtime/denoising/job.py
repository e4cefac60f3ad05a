"""One picture's latents on their way through a plan."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ...bundles.graph import DEEP_FEATURES
from ...bundles.tensor import Array
from ...engines.arrays import device_of, namespace, to_device, to_host
from ...errors import EngineError, InputError, ModelOutputError
from ..conditioning.conditioning import Conditioning
from ..imaging.tiles import Mosaic, Window
from ..sampling.brownian import BrownianNoise
from ..sampling.caching import FORECAST, Caching
from ..sampling.noise import NoiseStream
from ..sampling.plan import Plan
from .blend import KeptLatents
from .deep import DeepFeatures
from .denoiser import OUTPUT, SAMPLE, TIMESTEP
from .forecast import Forecast
from .guidance import combined
from .rows import Outputs, Row, RowControl, RowEvaluator
from .state import new_state
from .steered import Past


class StepHook(Protocol):
    """Changes the latents between two evaluations."""

    @property
    def drift(self) -> tuple[float, ...]:
        """Drifts that were measured, in standard deviations."""
        ...

    def __call__(self, evaluation: int, latents: Array, denoised: Array, noise: Array | None) -> Array:
        """The latents to go on with after `evaluation`; `denoised` is the model's idea of the clean ones, `noise` what
        the evaluation drew."""
        ...


@dataclass(frozen=True, eq=False)
class JobControl:
    """A ControlNet's part in a job.

    `net` evaluates its graph; `inputs` are what that takes besides latents, timestep and text, by name, such as the
    hint float32 [3, height, width] of the whole picture. `weights` are those of its residuals, for each evaluation and
    each of its conditionings; None where it does not count.
    """

    net: RowEvaluator
    inputs: Mapping[str, Array]
    weights: Sequence[Sequence[tuple[float, ...] | None]]


@dataclass(frozen=True, eq=False)
class JobSnapshot:
    """A job between two evaluations, on the host: how many it has taken, the slots, the noise to draw, the drift, and
    what a forecast or shallow rows go by."""

    evaluation: int
    slots: Array
    denoised: Array
    noise: NoiseStream
    drift: tuple[float, ...]
    past: Past = field(default_factory=dict)


class Job:
    """The state of one picture, and the evaluation of its plan that comes next.

    `start` are the latents to begin with, float32 [channels, height, width]; `conditionings` those of every
    evaluation. With a `threshold` guided outputs get the range of their mimic weights, see `guidance.thresholded`. All
    arrays live on one device, and so does everything made of them. `noise` is drawn on the host for
    every noisy evaluation. `concat_latents`, float32 [channels, height, width], go into the model below the latents.
    With a `mosaic` every conditioning is one row a window, joined before anything else; its inputs of the latents'
    size, or of a multiple of it, are cut alike. `step_hooks` are called after every evaluation, in their order.
    The `motion` gives the noise of the plan's Brownian evaluations. A `blend` puts what a mask keeps into every
    prediction. `controls` are the ControlNets. With `caching` every so many evaluations alone are computed whole, the
    others forecast, or their rows shallow. `component` is the denoiser's name in errors.
    """

    def __init__(
        self,
        plan: Plan,
        start: Array,
        conditionings: Sequence[Sequence[Conditioning]],
        noise: NoiseStream,
        *,
        guidance_rescale: float = 0.0,
        threshold: float | None = None,
        concat_latents: Array | None = None,
        mosaic: Mosaic | None = None,
        step_hooks: Sequence[StepHook] = (),
        motion: BrownianNoise | None = None,
        blend: KeptLatents | None = None,
        controls: Sequence[JobControl] = (),
        caching: Caching | None = None,
        component: str = "the denoiser",
    ) -> None:
        self.plan = plan
        self.evaluation = 0
        self.device = device_of(start)
        self.conditionings = conditionings
        self.guidance_rescale = guidance_rescale
        self._threshold = threshold
        self._shape = start.shape
        self._noise = noise
        self._motion = motion
        self._concat_latents = concat_latents
        self._mosaic = mosaic
        self._step_hooks = step_hooks
        self._blend = blend
        self._controls = controls
        self._forecast: Forecast | None = None
        self._deep: DeepFeatures | None = None
        if caching is not None and len(plan):
            steering = [(control.inputs, control.weights) for control in controls]
            if caching.kind == FORECAST:
                self._forecast = Forecast(plan, conditionings, caching, steering)
            else:
                self._deep = DeepFeatures(plan, conditionings, caching, steering)
        self._component = component
        if mosaic is not None and any(each.window is not None for those in conditionings for each in those):
            raise InputError("a picture in windows takes no conditionings that count in windows of their own")
        self._drifted: tuple[float, ...] = ()
        self._outputs: dict[int, Array] = {}
        self.cut = False
        """Whether an interrupt came in the midst of `advance`: what is left is no picture's."""
        # The state sums the outputs itself where only numbers weigh them.
        weights = [[1.0] if self._sums(those) else [each.weight for each in those] for those in conditionings]
        self.state = new_state(plan, weights, start)

    @property
    def drift(self) -> tuple[float, ...]:
        """What the step hooks measured of each pass that has ended; see `step_hooks.Drift`."""
        return self._drifted + tuple(move for hook in self._step_hooks for move in hook.drift)

    @property
    def done(self) -> bool:
        """Whether every evaluation of the plan has been taken."""
        return self.evaluation == len(self.plan)

    @property
    def latents(self) -> Array:
        """The current latents, float32 [channels, height, width]; the result once done."""
        return self.state.latents

    @property
    def denoised(self) -> Array:
        """The model's current idea of the clean latents, float32 [channels, height, width]."""
        return self.state.denoised

    @property
    def paste_mask(self) -> Array | None:
        """How much of the result counts, uint8 [height, width] of the latents, where the blend decides it."""
        return self._blend.levels(self.latents) if self._blend is not None else None

    @property
    def plain(self) -> bool:
        """Whether a job is the denoiser and the plan's arithmetic alone: no hook, blend, threshold, window, area,
        ControlNet or LoRA, and no caching."""
        areas = any(each.area is not None or each.low_rank for those in self.conditionings for each in those)
        shown = any(each.concat_latents is not None for those in self.conditionings for each in those)
        others = (
            self._step_hooks
            or self._threshold is not None
            or self._blend is not None
            or self._mosaic
            or self._concat_latents is not None
        )
        return not (areas or shown or others or self._controls or self._forecast or self._deep)

    @property
    def row_count(self) -> int:
        """How many rows the next evaluation has; none where it is forecast."""
        if self._left_out:
            return 0
        return len(self.conditionings[self.evaluation]) * (len(self._mosaic) if self._mosaic else 1)

    @property
    def _left_out(self) -> bool:
        return self._forecast is not None and self._forecast.leaves_out(self.evaluation)

    def rows(self) -> list[Row]:
        """What the next evaluation needs from the denoiser: conditioning by conditioning, and of each its windows."""
        self._check_whole()
        self._outputs.clear()  # of a pass that was interrupted
        if self._left_out:
            return []
        latents = self.state.scaled(self.evaluation)
        if self._blend is not None:
            latents = self._blend.seen(self.evaluation, latents)
        timestep = self.state.timesteps[self.evaluation : self.evaluation + 1]
        if self._deep is not None:
            self._deep.begin(self.evaluation)
        return [
            Row({**inputs, TIMESTEP: timestep, **self._features(place, window)}, controls, each.low_rank)
            for place, each in enumerate(self.conditionings[self.evaluation])
            for window, (inputs, controls) in enumerate(
                zip(
                    self._windows({**each.inputs, SAMPLE: self._joined(latents, each)}, each.window),
                    self._row_controls(place, latents, each.window),
                    strict=True,
                )
            )
        ]

    def _features(self, place: int, window: int) -> Mapping[str, Array]:
        """The deep features that a row goes on from, where it does."""
        kept = self._deep.of(self.evaluation, place, window) if self._deep is not None else None
        return {} if kept is None else {DEEP_FEATURES: kept}

    def _joined(self, latents: Array, conditioning: Conditioning) -> Array:
        """The latents with what the model is shown below them."""
        own = conditioning.concat_latents
        shown = self._concat_latents if own is None else own
        if shown is None:
            return latents
        joined: Array = namespace(self.device).concatenate([latents, shown])
        return joined

    def _row_controls(self, place: int, latents: Array, own_window: Window | None) -> Sequence[Sequence[RowControl]]:
        """The ControlNets that count for a conditioning of the next evaluation, in each window."""
        windows: list[list[RowControl]] = [[] for _ in range(len(self._mosaic) if self._mosaic else 1)]
        for control in self._controls:
            if (weights := control.weights[self.evaluation][place]) is None:
                continue
            parts = self._windows({**control.inputs, SAMPLE: latents}, own_window)
            for own, inputs in zip(windows, parts, strict=True):
                own.append(RowControl(control.net, inputs, weights))
        return windows

    def _windows(self, inputs: Mapping[str, Array], own: Window | None) -> list[Mapping[str, Array]]:
        """The inputs of each window: what is as large as the picture is cut; `own` is a conditioning's."""
        windows = [own] if own is not None else self._mosaic.windows if self._mosaic is not None else []
        if not windows:
            return [inputs]
        scales = {name: _scale(array, self._shape) for name, array in inputs.items()}
        return [
            {
                name: window.scaled_up(scales[name]).cut(array) if scales[name] else array
                for name, array in inputs.items()
            }
            for window in windows
        ]

    def receive(self, index: int, outputs: Outputs) -> None:
        """Take the model's outputs for one of `rows()`; a window's is joined with the others at once."""
        output, window = outputs[OUTPUT], 0
        if self._mosaic:
            index, window = divmod(index, len(self._mosaic))
        if self._deep is not None:
            self._deep.keep(self.evaluation, index, window, outputs)
        if self._mosaic:
            output = self._mosaic.add(self._outputs.get(index), window, output)
        elif (own := self.conditionings[self.evaluation][index].window) is not None:
            whole = namespace(self.device).zeros((len(output), *self._shape[1:]), output.dtype)
            whole[(slice(None), *own.slices)] = output
            output = whole
        self._outputs[index] = output

    def advance(self) -> None:
        """Take one evaluation of the plan, after all the outputs that it needs.

        Raises `ModelOutputError` for NaN or infinity at once on the host; on a device, where the answer has to be
        waited for, `check` does.
        """
        evaluation, conditionings = self.evaluation, self.conditionings[self.evaluation]
        outputs = self._taken(evaluation)
        if self._sums(conditionings):
            outputs = [combined(conditionings, outputs, self.guidance_rescale, self._threshold)]
        if self._blend is not None:
            outputs = [self._blend.output(evaluation, self.latents, outputs[0])]
        noise = self.draw(evaluation) if self.plan.noisy[evaluation] else None
        self.state.take(evaluation, outputs, noise)
        self.evaluation += 1
        if self.device == "cpu":
            self._check_finite()
        latents = self.latents
        for hook in self._step_hooks:
            latents = hook(evaluation, latents, self.denoised, noise)
        if self._blend is not None and self.done:
            latents = self._blend.end(latents)
        if latents is not self.latents:
            self.state.put(self.evaluation, latents)

    def _taken(self, evaluation: int) -> list[Array]:
        """The model's output for each conditioning, computed or forecast."""
        if self._forecast is not None and self._left_out:
            return self._forecast.outputs(evaluation, self.latents)
        outputs = [self._outputs.pop(index) for index in range(len(self.conditionings[evaluation]))]
        if self._forecast is not None:
            self._forecast.keep(evaluation, self.latents, outputs)
        return outputs

    def check(self) -> None:
        """Raise `ModelOutputError` for the first evaluation whose output was NaN or infinite; waits for the device.

        Raises `EngineError` for a job that was cut.
        """
        self._check_whole()
        self._check_finite()

    def _check_whole(self) -> None:
        if self.cut:
            raise EngineError("an evaluation was interrupted half-way, and its picture with it; start it again")

    def _check_finite(self) -> None:
        nonfinite = to_host(self.state.nonfinite)
        if nonfinite.any():
            evaluation = int(nonfinite.argmax())
            raise ModelOutputError(
                f"{self._component} returned NaN or infinity at evaluation {evaluation + 1} of {len(self.plan)}, "
                f"timestep {self.plan.timesteps[evaluation]:g}; "
                "the bundle's weights or its precision are at fault, try one exported in float32"
            )

    def snapshot(self) -> JobSnapshot:
        """Where the job is, to go on from later; waits for the device."""
        slots = np.stack([to_host(slot) for slot in self.state.slots])
        return JobSnapshot(
            self.evaluation,
            slots,
            to_host(self.denoised).copy(),
            copy.deepcopy(self._noise),
            self.drift,
            cached.snapshot() if (cached := self._forecast or self._deep) is not None else {},
        )

    def resume(self, snapshot: JobSnapshot) -> None:
        """Go to where another job of the same plan and shapes was; the evaluations before are not run."""
        self.evaluation, self._noise, self._drifted = snapshot.evaluation, copy.deepcopy(snapshot.noise), snapshot.drift
        slots, denoised = (to_device(array, self.device) for array in (snapshot.slots, snapshot.denoised))
        self.state.restore(self.evaluation, slots, denoised)
        if (cached := self._forecast or self._deep) is not None:
            cached.resume(snapshot.past, self.device)

    def _sums(self, conditionings: Sequence[Conditioning]) -> bool:
        """Whether the evaluation's outputs are summed here."""
        bounded = bool(self.guidance_rescale) or self._threshold is not None
        summed = (bounded and len(conditionings) > 1) or self._blend is not None
        return summed or any(each.area is not None for each in conditionings)

    def draw(self, evaluation: int) -> Array:
        """The noise of an evaluation: of the motion, if there is one, or the next draw."""
        if self._motion is not None and self.plan.brownian[evaluation]:
            drawn = self._motion(self._shape, self.plan.increment[evaluation], self.plan.span[evaluation])
        else:
            drawn = self._noise(self._shape)
        return to_device(drawn, self.device)


def _scale(array: Array, latents: tuple[int, ...]) -> int:
    """How many times as fine as the latents [channels, height, width] an array is; 0 for one that is no picture."""
    height, width = latents[-2:]
    if array.ndim != 3 or array.shape[1] % height:
        return 0
    scale = array.shape[1] // height
    return scale if array.shape[2] == scale * width else 0
