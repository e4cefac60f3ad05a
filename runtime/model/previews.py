"""Previews as work for the scheduler, so that decoding one holds up the others no longer than any decode."""

from __future__ import annotations

import time

from PIL import Image

from ...bundles.tensor import Array
from ...errors import InputError
from ..denoising.job import Job
from ..denoising.loop import Step
from ..progress import ProgressCallback, no_progress
from ..units import Units
from .scheduler import Scheduler
from .stats import RunStats
from .tickets import Ticket

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


def preview_of(step: Step, scheduler: Scheduler, priority: int = 0) -> Ticket[Image.Image]:
    """The ticket of the picture of a step, which the scheduler decodes once it has time for it."""
    return scheduler.submit(Preview(step), deadline=time.monotonic() + PATIENCE, priority=priority)
