"""A batch of requests on its way: from tasks to pictures, a step at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ...bundles.tensor import Array
from ...engines.arrays import device_lock
from ...errors import CancelledError, InputError, ModelOutputError
from .. import nonfinite
from ..denoising.job import Job, JobSnapshot
from ..denoising.loop import Step
from ..imaging import resize
from ..imaging.match import match
from ..imaging.soft import paste_levels
from ..model.build_job import Assembly, Tally
from ..progress import ProgressCallback, no_progress
from ..provenance.records import recorder
from ..requests.options import fixed_on_resume
from ..requests.request import Output, Request, Result
from .clock import Clock

if TYPE_CHECKING:
    from ..pipeline import Pipeline, Task

# How many times more or fewer pixels than usual deserve a note.
FAR = 2.25
# What the steps before a checkpoint hang on besides the table.
SETTLED = fixed_on_resume()


@dataclass(frozen=True, eq=False)
class RunSnapshot:
    """A picture between two steps: what was asked for, and where it is."""

    request: Request
    mark: JobSnapshot


class Run:
    """A batch of requests being answered. Iterating, once, does the work and yields a `Step` for every evaluation;
    `cancel` ends it between two.

    Everything that can be known to be wrong with a request is raised when the run is made, before any model runs.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        requests: Sequence[Request],
        checkpoint: RunSnapshot | None = None,
        progress: ProgressCallback = no_progress,
        timeout: float | None = None,
    ) -> None:
        """`checkpoint` is where the first request goes on from; `progress` is told what is done within a step; past
        `timeout` seconds it stops before its next evaluation, with `RunTimeoutError`."""
        if not requests:
            raise InputError("a run has no request; give at least one")
        self.tasks = tuple(pipeline.task(request) for request in requests)
        if checkpoint is not None:
            _check_resumable(pipeline.task(checkpoint.request), self.tasks[0], checkpoint.mark.line)
        self._pipeline = pipeline
        self._progress = progress
        self._clock = Clock(timeout)
        self._marks = {} if checkpoint is None else {0: checkpoint.mark}
        self._tally = Tally()
        self._begun = False
        self._cancelled = threading.Event()
        self._jobs: dict[int, Job] = {}
        self._result: Result | None = None

    def __iter__(self) -> Generator[Step]:
        """Do the work; raises `InputError` the second time."""
        if self._begun:
            raise InputError("a run goes once; start another")
        self._begun = True
        engines = self._pipeline.engines.values()
        for engine in engines:
            engine.begin_run()
        steps = self._steps()
        try:
            self._clock.begin()
            while not self._cancelled.is_set() and (step := self._next(steps)) is not None:
                yield step
                done = sum(job.line for job in self._jobs.values())
                if done < self.evaluations:
                    self._clock.check(done, self.evaluations)
        finally:
            steps.close()
            for engine in engines:
                engine.end_run()

    def cancel(self) -> None:
        """End the run before its next evaluation, from any thread: its iteration ends, `result()` raises."""
        self._cancelled.set()

    @property
    def _device(self) -> str:
        """Where something of the work is done that the host does not wait for."""
        devices = {engine.device for engine in self._pipeline.engines.values()}
        return "cuda" if "cuda" in devices else "cpu"

    def _device_lock(self) -> AbstractContextManager[object]:
        return device_lock(self._device)

    def _next(self, steps: Iterator[Step]) -> Step | None:
        with self._device_lock():
            return next(steps, None)

    def _steps(self) -> Generator[Step]:
        start, away = time.perf_counter(), 0.0
        self._jobs = {index: self._job(index) for index, task in enumerate(self.tasks) if len(task.plan)}
        with self._diagnosing():
            for step in self._pipeline.loops.run(self._jobs, self._pipeline.denoiser, self._show, self._progress):
                self._tally.timings["denoise"] += step.seconds
                left = time.perf_counter()
                yield step
                away += time.perf_counter() - left
        outputs = tuple(self._output(index) for index in range(len(self.tasks)))
        total = time.perf_counter() - start - away
        labels = {name: engine.label for name, engine in self._pipeline.engines.items()}
        self._result = Result(outputs, {**self._tally.timings, "total": total}, dict(self._tally.cached), labels)

    @property
    def evaluations(self) -> int:
        """How many steps there are to iterate over."""
        return sum(len(task.plan) for task in self.tasks)

    def result(self) -> Result:
        """The result of a run that was iterated to its end; raises `InputError` for one that was not, and
        `CancelledError` for one that was cancelled before."""
        if self._result is None and self._cancelled.is_set():
            raise CancelledError("the run was cancelled and has no result; start another")
        if self._result is None:
            raise InputError("the run has not ended; iterate over it to its end before asking for its result")
        return self._result

    def snapshot(self, image: int = 0) -> RunSnapshot:
        """Where a picture of the run is between two steps, for `Pipeline.resume`; raises `InputError` before the first
        step, and for a picture of which the model computes nothing."""
        if image not in self._jobs:
            raise InputError("a checkpoint is of a picture on its way; ask for it between the run's steps")
        with self._device_lock():
            return RunSnapshot(self.tasks[image].request, self._jobs[image].snapshot())

    def _job(self, index: int) -> Job:
        job = Assembly(self._pipeline, self.tasks[index], self._tally, self._progress).job()
        if index in self._marks:
            job.resume(self._marks[index])
        return job

    def _show(self, index: int, latents: Array) -> Image.Image:
        task = self.tasks[index]
        with self._device_lock(), self._diagnosing():  # a preview is asked for between the steps
            pixels = self._pipeline.vae.decode(latents, self._progress, task.request.truncates)
            self._jobs[index].check()
        if method := task.request.colour_match:
            width, height = task.placement.size  # what lies beyond is no part of either picture
            pixels = match(pixels[:height, :width], task.picture.on_white[:height, :width], method)
        return resize.restore(pixels, task.placement)

    @contextmanager
    def _diagnosing(self) -> Iterator[None]:
        """Name the first that has nonfinite something: on a device nobody has looked before it was waited for."""
        try:
            yield
        except ModelOutputError:
            if self._device != "cpu":
                self._diagnose()
            raise

    def _diagnose(self) -> None:
        self._pipeline.text.forget()
        self._pipeline.vae.forget()
        for component, array in self._tally.encodings:
            nonfinite.check(component, array)
        for job in self._jobs.values():
            job.check()

    def _output(self, index: int) -> Output:
        task, job = self.tasks[index], self._jobs.get(index)
        with self._tally.stage("decode"):
            image = self._show(index, job.latents) if job else resize.restore(task.picture.pixels, task.placement)
        notes = (*task.picture.notes, *self._notes(task))
        made = recorder(self._pipeline, task.request, image, task.plan, len(self.tasks))
        drift = job.drift if job else ()
        return Output(
            image, task.request, task.plan, task.parameters, notes, drift, made, paste_levels=self._paste_levels(index)
        )

    def _paste_levels(self, index: int) -> Array | None:
        task, job = self.tasks[index], self._jobs.get(index)
        levels = job.paste_levels if job else None
        if levels is None:
            return None
        shown = np.repeat(paste_levels(levels, task.picture.size)[..., None], 3, axis=2)
        return np.array(resize.restore(shown, task.placement))[..., 0]

    def _notes(self, task: Task) -> Iterator[str]:
        request = task.request
        # What the model sees at once.
        width, height = (min(length, request.window or length) for length in task.picture.size)
        usual = self._pipeline.bundle.model.default_size
        if len(task.plan) and not 1 / FAR <= width * height / (usual[0] * usual[1]) <= FAR:
            yield f"worked on {width}x{height} pixels, the model is made for {usual[0]}x{usual[1]} and so best at it"
        if request.colour_match and len(task.plan):
            yield f"the colours are matched to the input's ({request.colour_match})"
        if request.guidance_scale <= 1 and (request.negative_prompt or request.guidance_rescale):
            yield "guidance at most 1 heeds neither the negative prompt nor the rescaling"


def _check_resumable(old: Task, new: Task, line: int) -> None:
    """Raise `InputError` where the lines before `line` would have been others."""
    for name in SETTLED:
        if getattr(old.request, name) != getattr(new.request, name):
            raise InputError(f"another {name} would have altered the steps before the checkpoint; start again", name)
    same = old.plan.names == new.plan.names and old.picture.size == new.picture.size
    if not same or not np.array_equal(old.plan.matrix[:line], new.plan.matrix[:line]) or line > len(new.plan):
        raise InputError(
            "the steps before the checkpoint would have been others; keep its size, sampler, schedule, steps and "
            "strength, or start again"
        )
