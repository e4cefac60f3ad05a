"""Loops of few lines as CUDA graphs: latents to latents in one call, where the engine's own work can be captured."""

from __future__ import annotations

import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace

from PIL import Image

from ...bundles.tensor import Array
from ...engines.arrays import namespace_of
from ...engines.capture import Capture
from ...errors import EngineError
from ..progress import ProgressCallback, no_progress
from .denoiser import Denoiser
from .job import Job
from .loop import Show, Step, run

# A longer loop gains nothing: the host queues its steps faster than the device takes them.
MOST_LINES = 4
# Each keeps the memory of its arrays.
MOST_GRAPHS = 4


@dataclass(frozen=True, eq=False)
class Loop:
    """Jobs of one form on inputs of their own, and `work`, which takes them from there through all lines and gives the
    steps: a captured graph, or what it was captured of, `plain`."""

    inputs: Mapping[int, list[Array]]
    jobs: Mapping[int, Job]
    plain: Callable[[], list[Step]]
    work: Callable[[], list[Step]]


class LoopGraphs:
    """Runs jobs as `loop.run` does; a loop of at most `MOST_LINES` lines that has come before as one CUDA graph.

    What may differ from time to time are the latents, the embeddings and the noise. The first loop of a form shows
    whether the engine's work may be captured, the next is, and those that follow replay it, until the engine sees other
    shapes. One that turns out not to be capturable goes on step by step, with a warning. The `MOST_GRAPHS` that ran
    last are kept.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Loop | None] = OrderedDict()

    def run(
        self, jobs: Mapping[int, Job], denoiser: Denoiser, show: Show, progress: ProgressCallback = no_progress
    ) -> Iterator[Step]:
        """The steps of the jobs; those of a graph come together once it is queued, each with its share of the time."""
        key = _key(jobs, denoiser)
        if key in self._known:
            yield from self._replay(key, jobs, denoiser, show)
            return
        yield from run(jobs, denoiser, show, progress)
        if key and denoiser.engine.capture_state == key[0]:
            self._keep(key, None)

    def _replay(self, key: Hashable, jobs: Mapping[int, Job], denoiser: Denoiser, show: Show) -> Iterator[Step]:
        start = time.perf_counter()
        given = {index: job.inputs() for index, job in jobs.items()}
        loop = self._known[key] or _loop(jobs, given, denoiser)
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
        kept = [step.denoised.copy() for step in steps]
        for index, job in jobs.items():
            job.finish(loop.jobs[index])
        seconds = (time.perf_counter() - start) / len(steps)
        for step, denoised in zip(steps, kept, strict=True):
            yield replace(step, denoised=denoised, seconds=seconds, show=show)

    def _keep(self, key: Hashable, loop: Loop | None) -> None:
        self._known[key] = loop
        self._known.move_to_end(key)
        while len(self._known) > MOST_GRAPHS:
            self._known.popitem(last=False)


def _key(jobs: Mapping[int, Job], denoiser: Denoiser) -> tuple[Hashable, ...] | None:
    """What the engine's work relies on and the jobs' forms; None for what is not captured."""
    state = denoiser.engine.capture_state
    if state is None or not 0 < sum(len(job.plan) for job in jobs.values()) <= MOST_LINES:
        return None
    forms = {index: job.capture_key() for index, job in jobs.items()}
    return None if None in forms.values() else (state, *forms.items())


def _loop(jobs: Mapping[int, Job], given: Mapping[int, list[Array]], denoiser: Denoiser) -> Loop:
    """Jobs like `jobs` on arrays like those that are given, not filled nor captured yet."""
    inputs = {index: [namespace_of(array).empty_like(array) for array in arrays] for index, arrays in given.items()}
    twins = {index: job.rebind(inputs[index]) for index, job in jobs.items()}

    def work() -> list[Step]:
        denoiser.forget()  # what it has stacked would be missing from the graph
        for index, twin in twins.items():
            twin.restart(inputs[index][0])
        made = list(run(twins, denoiser, _unseen))
        denoiser.forget()
        return made

    return Loop(inputs, twins, work, Capture(work))


def _unseen(index: int, latents: Array) -> Image.Image:
    """In the place of each run's own `show`, which would keep the pictures of the first one alive."""
    raise AssertionError("a captured step is shown by the run that it is yielded to")
