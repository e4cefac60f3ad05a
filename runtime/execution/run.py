"""A batch of requests being answered: tickets of one scheduler, iterated over for their steps."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence

from ...errors import CancelledError, InputError
from ..denoising.job import Job
from ..denoising.loop import Step
from ..model.model import Model
from ..model.stats import total
from ..model.tickets import CANCELLED, DONE, ENDED, FAILED, Events, Ticket
from ..progress import ProgressCallback, no_progress
from ..requests.request import Request
from ..requests.result import Output, Result
from .clock import Clock
from .snapshots import RunSnapshot, check_resumable


class Run:
    """A batch of requests being answered. Iterating, once, does the work and yields a `Step` for every evaluation;
    `cancel` ends it between two.

    Everything that can be known to be wrong with a request is raised when the run is made, before any model runs. Runs
    of several threads share the model's calls; one that is iterated over goes at its reader's pace.
    """

    def __init__(
        self,
        model: Model,
        requests: Sequence[Request],
        snapshot: RunSnapshot | None = None,
        progress: ProgressCallback = no_progress,
        timeout: float | None = None,
        *,
        isolated: bool = False,
        paced: bool = True,
    ) -> None:
        """`snapshot` is where the first request goes on from; `progress` is called with the parts of a step; past
        `timeout` seconds it stops before its next evaluation, with `RunTimeoutError`. A failure ends the whole run,
        unless they are `isolated`: then the others go on, and `errors` has it. Where it is not `paced`, its pictures go
        on while a step is looked at."""
        if not requests:
            raise InputError("a run has no request; give at least one")
        model.lane.check_open()
        self.prepared = tuple(model.prepare(request) for request in requests)
        if snapshot is not None:
            check_resumable(model.prepare(snapshot.request), self.prepared[0], snapshot.job.evaluation)
        self.errors: dict[int, Exception] = {}
        """By the picture's index what its request failed with, where failures are isolated."""
        self.paced = paced
        self._model = model
        self._clock = Clock(timeout)
        self._isolated = isolated
        self._events = Events()
        self._begun = self._cancelled = False
        works = [
            model.painting(
                prepared,
                together=len(self.prepared),
                snapshot=snapshot.job if snapshot is not None and index == 0 else None,
                progress=progress,
            )
            for index, prepared in enumerate(self.prepared)
        ]
        self._tickets = tuple(Ticket(work, image=index, events=self._events) for index, work in enumerate(works))
        self._jobs: dict[int, Job] = {}
        self._result: Result | None = None

    def __iter__(self) -> Generator[Step]:
        """Do the work; raises `InputError` the second time."""
        if self._begun:
            raise InputError("a run goes once; start another")
        self._begun = True
        start, away, done = time.perf_counter(), 0.0, 0
        self._clock.begin()
        try:
            for ticket in self._tickets:
                ticket.paced = self.paced
                self._model.lane.add(ticket)
            for step in self._steps():
                done += 1
                left = time.perf_counter()
                yield step
                away += time.perf_counter() - left
                if done < self.evaluations:
                    self._clock.check(done, self.evaluations)
        finally:
            self._leave()
        if not self._cancelled:
            self._result = self._collected(time.perf_counter() - start - away)

    def cancel(self) -> None:
        """End the run before its next evaluation, from any thread: its iteration ends, `result()` raises."""
        self._cancelled = True
        for ticket in self._tickets:
            ticket.cancel()

    @property
    def evaluations(self) -> int:
        """How many steps there are to iterate over."""
        return sum(len(prepared.plan) for prepared in self.prepared)

    @property
    def done(self) -> tuple[int, ...]:
        """The indices of the pictures that are done, which have an output."""
        return tuple(ticket.image for ticket in self._tickets if ticket.status == DONE)

    @property
    def tickets(self) -> tuple[Ticket[Output], ...]:
        """Its pieces of work in the scheduler, by picture."""
        return self._tickets

    def result(self) -> Result:
        """The result of a run that was iterated to its end; raises `InputError` for one that was not, and
        `CancelledError` for one that was cancelled before."""
        if self._result is None and self._cancelled:
            raise CancelledError("the run was cancelled and has no result; start another")
        if self._result is None:
            raise InputError("the run has not ended; iterate over it to its end before asking for its result")
        return self._result

    def snapshot(self, image: int = 0) -> RunSnapshot:
        """Where a picture of the run is between two steps, for `Pipeline.resume`; raises `InputError` before the first
        step, and for a picture of which the model computes nothing."""
        if image not in self._jobs:
            raise InputError("a snapshot is of a picture on its way; ask for it between the run's steps")
        with self._model.lane.exclusive():
            return RunSnapshot(self.prepared[image].request, self._jobs[image].snapshot())

    def _steps(self) -> Generator[Step]:
        """The steps as they are taken, of pictures in the order of their indices; raises what a ticket failed with."""
        lane, left = self._model.lane, len(self._tickets)
        while left and not self._cancelled:
            event = self._events.take()
            if event is None:
                lane.drive(lambda: len(self._events) > 0)
                continue
            left -= event.status in ENDED
            if event.ticket.job is not None:
                self._jobs[event.ticket.image] = event.ticket.job
            if event.status in (FAILED, CANCELLED) and not self._cancelled:
                self._failed(event.ticket)
            if event.step is not None:
                yield event.step

    def _failed(self, ticket: Ticket[Output]) -> None:
        error = ticket.error
        assert error is not None
        if not self._isolated or not isinstance(error, Exception):
            raise error
        self.errors[ticket.image] = error

    def _leave(self) -> None:
        """Take back what has not ended."""
        for ticket in self._tickets:
            ticket.cancel()
        self._model.lane.drop()

    def _collected(self, seconds: float) -> Result:
        outputs = [ticket.future.result() for ticket in self._tickets if ticket.status == DONE]
        stats = total(ticket.work.stats for ticket in self._tickets)
        timings: Mapping[str, float] = {**stats.timings, "total": seconds}
        return Result(tuple(outputs), timings, dict(stats.cached), self._model.labels)
