"""A loop of few evaluations as one CUDA graph: latents to latents in one call, where engines can be captured."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import numpy as np

from ...bundles.tensor import Array
from ...engines.arrays import namespace_of
from ...engines.capture import Capture
from ...errors import EngineError
from ..conditioning.conditioning import Conditioning
from .denoiser import Denoiser
from .job import Job
from .loop import evaluate

# A longer loop gains nothing: the host queues its steps faster than the device takes them.
MOST_EVALUATIONS = 4
# Each keeps the memory of its arrays.
MOST_GRAPHS = 4

_log = logging.getLogger(__name__)


class DrawnNoise:
    """Noise that was drawn before, round and round."""

    def __init__(self, draws: Sequence[Array]) -> None:
        self._draws = cycle(draws)

    def __call__(self, shape: tuple[int, ...], origin: tuple[int, int] = (0, 0)) -> Array:
        """The next draw, where it lies."""
        return next(self._draws)


@dataclass(frozen=True, eq=False)
class LoopGraph:
    """A job on arrays of its own, `inputs`, and `work`, which takes it from there through all evaluations and gives the
    denoised latents of each: a captured graph, or what it was captured of, `plain`."""

    inputs: Sequence[Array]
    job: Job
    plain: Callable[[], list[Array]]
    work: Callable[[], list[Array]]


class LoopGraphs:
    """Takes a job of at most `MOST_EVALUATIONS` through all of them at once, where such a one has come before.

    What may differ from time to time are the latents, the conditionings' inputs and the noise. The first job of a kind
    shows whether the engine's work may be captured, the next is, and those that follow replay it, until the engine sees
    other shapes. One that turns out not to be capturable goes on step by step, which is logged. The `MOST_GRAPHS` that
    ran last are kept.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, LoopGraph | None] = OrderedDict()

    def clear(self) -> None:
        """Let go of all graphs and their memory."""
        self._known.clear()

    def key(self, job: Job, denoiser: Denoiser) -> Hashable | None:
        """What a CUDA graph of the whole job is the same for; None where there can be no such graph."""
        state = denoiser.engine.capture_state
        if state is None or not 0 < len(job.plan) <= MOST_EVALUATIONS:
            return None
        own = capture_key(job)
        return None if own is None else (state, own)

    def knows(self, key: Hashable | None) -> bool:
        """Whether a job of that key has come before."""
        return key in self._known

    def remember(self, key: Hashable | None, denoiser: Denoiser) -> None:
        """Note that a job of that key has run step by step, if the engine still is as it was when it began."""
        if isinstance(key, tuple) and denoiser.engine.capture_state == key[0]:
            self._keep(key, None)

    def replay(self, key: Hashable, job: Job, denoiser: Denoiser) -> list[Array]:
        """Take a job through all its evaluations, queued as one graph; the denoised latents of each."""
        inputs = _inputs(job)
        graph = self._known[key] or _graph(job, inputs, denoiser)
        for fixed, array in zip(graph.inputs, inputs, strict=True):
            fixed[...] = array
        try:
            denoised = graph.work()
        except EngineError as exc:
            _log.warning("the loop goes step by step, it cannot be captured as one CUDA graph: %s", exc)
            graph = replace(graph, work=graph.plain)
            denoised = graph.work()
        self._keep(key, graph)
        kept = [each.copy() for each in denoised]
        _finish(job, graph.job)
        return kept

    def _keep(self, key: Hashable, graph: LoopGraph | None) -> None:
        self._known[key] = graph
        self._known.move_to_end(key)
        while len(self._known) > MOST_GRAPHS:
            self._known.popitem(last=False)


def capture_key(job: Job) -> Hashable | None:
    """What the arithmetic of a whole job depends on, but for the arrays that it reads. None on the host, on the way,
    and where something is done between evaluations, with windows, areas or concatenated latents."""
    if job.device == "cpu" or job.evaluation or not job.plain:
        return None
    places = {id(array): place for place, array in enumerate(_conditions(job))}
    kinds = tuple(
        tuple(
            (each.weight, tuple((name, places[id(array)], array.shape) for name, array in each.inputs.items()))
            for each in those
        )
        for those in job.conditionings
    )
    return job.plan, job.latents.shape, kinds, job.guidance_rescale


def _graph(job: Job, inputs: Sequence[Array], denoiser: Denoiser) -> LoopGraph:
    """A job like `job` on arrays like those that it has, not filled nor captured yet."""
    fixed = [namespace_of(array).empty_like(array) for array in inputs]
    twin = _twin(job, fixed)

    def work() -> list[Array]:
        denoiser.forget()  # what it has stacked would be missing from the graph
        _restart(twin, fixed[0])
        made = []
        while not twin.done:
            for error in evaluate([twin], denoiser).values():
                raise error
            made.append(twin.denoised)
        denoiser.forget()
        return made

    return LoopGraph(fixed, twin, work, Capture(work))


def _inputs(job: Job) -> list[Array]:
    """What differs between jobs of a key: the latents, the conditionings' arrays, the noise of each evaluation."""
    noises = [job.draw(int(evaluation)) for evaluation in np.flatnonzero(job.plan.noisy)]
    return [job.latents, *_conditions(job), *noises]


def _twin(job: Job, inputs: Sequence[Array]) -> Job:
    """A job of the same key on other `inputs`, in their order; its noise comes round once all evaluations are taken."""
    start, *others = inputs
    own = _conditions(job)
    other = {id(array): fixed for array, fixed in zip(own, others, strict=False)}

    def moved(each: Conditioning) -> Conditioning:
        return replace(each, inputs={name: other[id(array)] for name, array in each.inputs.items()})

    conditionings = [[moved(each) for each in those] for those in job.conditionings]
    noise = DrawnNoise(others[len(own) :])
    return Job(job.plan, start, conditionings, noise, guidance_rescale=job.guidance_rescale)


def _restart(job: Job, start: Array) -> None:
    """Send a job back to its beginning, with the latents `start`."""
    xp = namespace_of(start)
    slots = xp.stack([start, *[xp.zeros_like(start)] * (job.plan.slots - 1)])
    job.evaluation = 0
    job.state.restore(0, slots, start)


def _finish(job: Job, other: Job) -> None:
    """Bring a job to where another of the same key has ended."""
    job.evaluation = len(job.plan)
    job.state.restore(job.evaluation, other.state.slots, other.denoised.copy())
    job.state.nonfinite[...] = other.state.nonfinite


def _conditions(job: Job) -> list[Array]:
    """The conditionings' arrays, each once, in the order of the evaluations."""
    arrays = (array for those in job.conditionings for each in those for array in each.inputs.values())
    return list({id(array): array for array in arrays}.values())
