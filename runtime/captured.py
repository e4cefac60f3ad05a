"""Loops of few lines as CUDA graphs: latents to latents in one call, where the engine's own work can be captured."""

from __future__ import annotations

import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..engines.base import Array, EngineError
from ..engines.capture import Capture
from .denoiser import Denoiser
from .job import Job
from .loop import Show, Step, run
from .watch import Watch, unwatched

# A longer loop gains nothing: the host queues its steps faster than the device takes them.
MOST_LINES = 4
# Each keeps the memory of its arrays.
MOST_LOOPS = 4


@dataclass(frozen=True, eq=False)
class Loop:
    """Jobs of one form on inputs of their own, and `work`, which takes them from there through all lines and gives the
    steps: a captured graph, or what it was captured of, `plain`."""

    inputs: Mapping[int, list[Array]]
    jobs: Mapping[int, Job]
    plain: Callable[[], list[Step]]
    work: Callable[[], list[Step]]


class Loops:
    """Runs jobs as `loop.run` does; a loop of at most `MOST_LINES` lines that has come before as one CUDA graph.

    What may differ from time to time are the latents, the embeddings and the noise. The first loop of a form shows
    whether the engine's work may be captured, the next is, and those that follow replay it, until the engine sees other
    shapes. One that turns out not to be capturable goes on step by step, with a warning. The `MOST_LOOPS` that ran last
    are kept.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Loop | None] = OrderedDict()

    def run(self, jobs: Mapping[int, Job], denoiser: Denoiser, show: Show, watch: Watch = unwatched) -> Iterator[Step]:
        """The steps of the jobs; those of a graph come together once it is queued, each with its share of the time."""
        forms = {index: job.form() for index, job in jobs.items()}
        state = denoiser.engine.capture_state
        lines = sum(len(job.plan) for job in jobs.values())
        if None in forms.values() or state is None or not 0 < lines <= MOST_LINES:
            yield from run(jobs, denoiser, show, watch)
            return
        key = (state, *forms.items())
        if key in self._known:
            yield from self._replay(key, jobs, denoiser, show)
            return
        yield from run(jobs, denoiser, show, watch)
        if denoiser.engine.capture_state == state:
            self._keep(key, None)

    def _replay(self, key: Hashable, jobs: Mapping[int, Job], denoiser: Denoiser, show: Show) -> Iterator[Step]:
        start = time.perf_counter()
        given = {index: job.inputs() for index, job in jobs.items()}
        loop = self._known[key] or _loop(jobs, given, denoiser, show)
        for index, arrays in given.items():
            for fixed, array in zip(loop.inputs[index], arrays, strict=True):
                fixed[...] = array
        try:
            steps = loop.work()
        except EngineError as exc:
            warnings.warn(f"the loop goes step by step, it cannot be captured as one CUDA graph: {exc}", stacklevel=2)
            loop = replace(loop, work=loop.plain)
            steps = loop.work()
        self._keep(key, loop)
        made = [replace(step, denoised=step.denoised.copy(), show=show) for step in steps]
        for index, job in jobs.items():
            job.finish(loop.jobs[index])
        seconds = (time.perf_counter() - start) / len(made)
        yield from (replace(step, seconds=seconds) for step in made)

    def _keep(self, key: Hashable, loop: Loop | None) -> None:
        self._known[key] = loop
        self._known.move_to_end(key)
        while len(self._known) > MOST_LOOPS:
            self._known.popitem(last=False)


def _loop(jobs: Mapping[int, Job], given: Mapping[int, list[Array]], denoiser: Denoiser, show: Show) -> Loop:
    """Jobs like `jobs` on copies of the arrays that are given, not captured yet."""
    inputs = {index: [array.copy() for array in arrays] for index, arrays in given.items()}
    twins = {index: job.over(inputs[index]) for index, job in jobs.items()}

    def work() -> list[Step]:
        denoiser.forget()  # what it has stacked would be missing from the graph
        for index, twin in twins.items():
            twin.restart(inputs[index][0])
        made = list(run(twins, denoiser, show))
        denoiser.forget()
        return made

    return Loop(inputs, twins, work, Capture(work))
