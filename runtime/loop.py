"""The hot loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ..engines.base import Array
from .denoiser import Denoiser
from .job import Job


@dataclass(frozen=True)
class Step:
    """One line of one job's plan, just taken.

    `image` is the index of the job, `index` of the line among `count`; `step` counts the schedule's steps among
    `steps`. `sigma` is the noise level the line started from, `seconds` what it took. `denoised` is the model's current
    idea of the clean latents, float32 [channels, height, width].
    """

    image: int
    index: int
    count: int
    step: int
    steps: int
    sigma: float
    seconds: float
    denoised: Array
    decode: Callable[[Array], Array]

    def preview(self) -> Array:
        """The current idea of the picture, uint8 [height, width, 3]; decoded only when asked for."""
        return self.decode(self.denoised)


def run(jobs: Sequence[Job], denoiser: Denoiser, decode: Callable[[Array], Array]) -> Iterator[Step]:
    """Take every job through its plan, a line of each active job at a time, all their rows in shared engine calls."""
    while active := [(index, job) for index, job in enumerate(jobs) if not job.done]:
        start = time.perf_counter()
        rows = [job.rows() for _, job in active]
        outputs = iter(denoiser([row for group in rows for row in group]))
        for (_, job), group in zip(active, rows, strict=True):
            job.advance(list(islice(outputs, len(group))))
        seconds = time.perf_counter() - start
        for index, job in active:
            yield _record(index, job, seconds / len(active), decode)


def _record(index: int, job: Job, seconds: float, decode: Callable[[Array], Array]) -> Step:
    plan, line = job.plan, job.line - 1
    sigma, step, steps = float(plan.sigmas[line]), int(plan.step[line]), int(plan.step[-1]) + 1
    return Step(index, line, len(plan), step, steps, sigma, seconds, job.denoised, decode)
