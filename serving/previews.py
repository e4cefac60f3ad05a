"""Previews as work for the scheduler, so that decoding one holds up the others no longer than any decode."""

from __future__ import annotations

import time
from concurrent.futures import Future

from PIL import Image

from ..bundles.tensor import Array
from ..errors import InputError
from ..runtime.denoising.job import Job
from ..runtime.denoising.loop import Step
from ..runtime.model.scheduler import Scheduler
from ..runtime.model.stats import RunStats
from ..runtime.progress import ProgressCallback, no_progress
from ..runtime.units import Units

PATIENCE = 10.0
"""Seconds after which a preview that nobody had time for is not worth its decode."""


class Preview:
    """The picture of a step."""

    def __init__(self, step: Step) -> None:
        self.stats = RunStats()
        self.progress: ProgressCallback = no_progress
        self._step = step

    def prepare(self) -> Units[Job | None]:
        """There is nothing to denoise."""
        yield
        return None

    def finish(self, job: Job | None) -> Units[Image.Image]:
        """Decode it."""
        made = self._step.preview()
        yield
        return made

    def show(self, job: Job, latents: Array) -> Image.Image:
        """Nothing is shown of it."""
        raise InputError("a preview has no preview")

    def diagnose(self, job: Job | None, error: Exception) -> Exception:
        """The error as it is."""
        return error


def preview_of(step: Step, scheduler: Scheduler, priority: int) -> Future[Image.Image]:
    """The picture of a step, once the scheduler has had time for it."""
    return scheduler.submit(Preview(step), deadline=time.monotonic() + PATIENCE, priority=priority).future
