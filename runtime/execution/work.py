"""What is iterated over for its steps and then has a result: a run, or a tool on its way."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Protocol, TypeVar

from ..denoising.loop import Step
from ..requests.result import Result
from .clock import Clock

OnStep = Callable[[Step], None]
Made = TypeVar("Made", bound=Result, covariant=True)


class Work(Protocol[Made]):
    """A run, or a tool on its way."""

    @property
    def evaluations(self) -> int:
        """How many steps there are."""
        ...

    def __iter__(self) -> Generator[Step]:
        """Do the work."""
        ...

    def result(self) -> Made:
        """What came out."""
        ...


def within(work: Work[Result], clock: Clock) -> Generator[Step]:
    """The steps of work, as long as there is time before each; however it ends, the work is closed.

    Raises `RunTimeoutError` between two evaluations; what is done after the last one is not stopped.
    """
    clock.begin()
    total = work.evaluations
    with closing(iter(work)) as steps:
        for done, step in enumerate(steps, 1):
            yield step
            if done != total:
                clock.check(done, total)


def finished(work: Work[Made], on_step: OnStep | None = None, clock: Clock | None = None) -> Made:
    """Work done to its end, within a limit of time, `on_step` called after every evaluation of the model."""
    with closing(within(work, clock or Clock(None))) as steps:
        for step in steps:
            if on_step:
                on_step(step)
    return work.result()
