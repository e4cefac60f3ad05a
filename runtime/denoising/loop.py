"""The hot loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from PIL import Image

from ...bundles.tensor import Array
from ..progress import ProgressCallback, no_progress
from .denoiser import Denoiser, Row
from .job import Job

Show = Callable[[int, Array], Image.Image]


@dataclass(frozen=True)
class Step:
    """One line of one job's plan, just taken.

    `image` is the index of the picture, `index` of the line among `count`; `step` counts the schedule's steps among
    `steps`. `sigma` is the noise level the line started from, `seconds` what it took, on a GPU to queue. `denoised` is
    the model's current idea of the clean latents, float32 [channels, height, width], on the denoiser's device.
    """

    image: int
    index: int
    count: int
    step: int
    steps: int
    sigma: float
    seconds: float
    denoised: Array = field(repr=False)
    show: Show = field(repr=False)

    def preview(self) -> Image.Image:
        """The current idea of the picture, as the result will be; decoded only when asked for."""
        return self.show(self.image, self.denoised)


def run(
    jobs: Mapping[int, Job], denoiser: Denoiser, show: Show, progress: ProgressCallback = no_progress
) -> Iterator[Step]:
    """Take every job through its plan, a line of each active job at a time, all their rows in shared engine calls.

    `jobs` are by the index of their picture; `show` turns an index and its latents into a picture; `progress` is
    told how many of a line's rows are done.
    """
    while active := {index: job for index, job in jobs.items() if not job.done}:
        start = time.perf_counter()
        _evaluate(active.values(), denoiser, progress)
        for job in active.values():
            job.advance()
        seconds = (time.perf_counter() - start) / len(active)
        for index, job in active.items():
            yield _record(index, job, seconds, show)


def _evaluate(jobs: Iterable[Job], denoiser: Denoiser, progress: ProgressCallback) -> None:
    """Have every job's rows evaluated; each output goes to its job as it comes, so that few are held."""
    rows: list[Row] = []
    owners: list[tuple[Job, int]] = []
    for job in jobs:
        own = job.rows()
        rows += own
        owners += [(job, index) for index in range(len(own))]
    for done, (index, output) in enumerate(denoiser.stream(rows), 1):
        job, place = owners[index]
        job.receive(place, output)
        progress("denoise", done, len(rows))


def _record(index: int, job: Job, seconds: float, show: Show) -> Step:
    plan, line = job.plan, job.line - 1
    sigma, step = float(plan.sigmas[line]), int(plan.step[line])
    return Step(index, line, len(plan), step, plan.steps, sigma, seconds, job.denoised, show)
