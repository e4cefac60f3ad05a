"""The hot loop: one evaluation of every job, all their rows in shared engine calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from PIL import Image

from ...bundles.tensor import Array
from ..sampling.plan import Plan
from .denoiser import Denoiser
from .job import Job

Show = Callable[[Array], Image.Image]
RowDone = Callable[[int], None]
"""Is called with the place of a job among those of a pass, when one of its rows is done."""


@dataclass(frozen=True)
class Step:
    """One evaluation of one job's plan, just taken.

    `image` is the index of the picture, `index` of the evaluation among `count`; `step` counts the schedule's steps
    among `steps`. `sigma` is the noise level that the evaluation started from, `seconds` what it took, on a GPU to
    queue. `denoised` is the model's current idea of the clean latents, float32 [channels, height, width], on the
    denoiser's device.
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
        """The current idea of the picture, as the result will be; decoded only when it is called."""
        return self.show(self.denoised)

    @classmethod
    def of(cls, plan: Plan, index: int, image: int, seconds: float, denoised: Array, show: Show) -> Step:
        """The evaluation `index` of a plan."""
        sigma, step = float(plan.sigmas[index]), int(plan.step[index])
        return cls(image, index, len(plan), step, plan.steps, sigma, seconds, denoised, show)


def evaluate(
    jobs: Sequence[Job], denoiser: Denoiser, row_done: RowDone = lambda place: None
) -> dict[int, BaseException]:
    """Take one evaluation of every job; each row's output goes to its job as it comes, so that few are held.

    Returns the errors by the places of the jobs that failed: those of the denoiser for its rows, NaN, and whatever a
    step hook or `row_done` raises. They are not advanced, the others are.
    """
    rows, owners, failed = [], [], dict[int, BaseException]()
    for place, job in enumerate(jobs):
        try:
            own = job.rows()
        except Exception as exc:  # noqa: BLE001 - it is its own job's
            failed[place] = exc
            continue
        rows += own
        owners += [(place, index) for index in range(len(own))]
    for index, outputs in denoiser.stream(rows):
        place, own_index = owners[index]
        if place in failed:
            continue
        if isinstance(outputs, Exception):
            failed[place] = outputs
            continue
        jobs[place].receive(own_index, outputs)
        _caught(failed, place, row_done, place)
    for place, job in enumerate(jobs):
        if place not in failed:
            try:
                _caught(failed, place, job.advance)
            except BaseException:  # an interrupt of whoever drives
                job.cut = True
                raise
    return failed


def _caught(failed: dict[int, BaseException], place: int, call: Callable[..., None], *arguments: int) -> None:
    try:
        call(*arguments)
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - it is its own job's
        failed[place] = exc
