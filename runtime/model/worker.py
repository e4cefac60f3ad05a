"""What a step of a scheduler does: engines are polled, tickets admitted, encoded, denoised, decoded and ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from PIL import Image

from ...bundles.tensor import Array
from ...engines.base import Engine
from ...errors import OverpaintError, RunTimeoutError
from ..denoising.job import Job
from ..denoising.loop import Step, evaluate
from ..denoising.loop_graphs import LoopGraphs
from .queue import Queue
from .stages import Stages
from .tickets import CANCELLED, DECODING, DENOISING, DONE, ENCODING, FAILED, Event, Ticket, TicketWork, cancelled

DRAIN_STEPS = 200
"""For how many steps nobody is admitted so that an engine of another precision may take over."""


class Worker:
    """The work on a queue's tickets, for one thread at a time; what happens is added to `events`.

    `exclusive` is what keeps others from the engines, for previews.
    """

    def __init__(
        self, stages: Stages, queue: Queue, graphs: LoopGraphs, exclusive: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._stages = stages
        self._queue = queue
        self._graphs = graphs
        self._exclusive = exclusive
        self._last_pass = 0.0
        self._draining = 0

    def between_passes(self, events: list[Event]) -> None:
        """Poll the engines, drop the cancelled and the expired, admit those that wait, encode and decode."""
        engines, idle = self._stages.all_engines, not self._queue.active
        for engine in engines:
            engine.poll(idle=idle)
        self.drop(events)
        self._admit(engines)
        self._run_units(events)

    def _admit(self, engines: Iterable[Engine]) -> None:
        """Admit those that wait, unless an engine waits for the device to fall idle: then every other `DRAIN_STEPS`."""
        waits = any(engine.waits_for_idle for engine in engines)
        self._draining = self._draining + 1 if waits else 0
        draining = waits and (self._draining - 1) // DRAIN_STEPS % 2 == 0
        if not (draining and self._queue.progressing):
            self._queue.admit()

    def drop(self, events: list[Event]) -> None:
        """End the cancelled, and those whose deadline is past."""
        now = time.monotonic()
        for ticket in self._queue.all():
            if ticket.cancelled:
                self._end(ticket, CANCELLED, cancelled(), events)
            elif ticket.deadline is not None and now > ticket.deadline:
                done, total = (ticket.job.evaluation, len(ticket.job.plan)) if ticket.job else (0, 0)
                where = f"after {done} of {total} evaluations" if total else "before its first evaluation"
                error = RunTimeoutError(f"stopped {where}: its deadline is past; give more time, or ask for less")
                self._end(ticket, FAILED, error, events)

    def _run_units(self, events: list[Event]) -> None:
        """Encode and decode; see `Scheduler` for how much of it."""
        begun, spent = self._queue.denoising(), 0.0
        for ticket in self._queue.with_units():
            if ticket.cancelled:
                return  # the next step drops it
            start = time.perf_counter()
            self._run_unit(ticket, events)
            spent += time.perf_counter() - start
            if begun and spent >= self._last_pass:
                return
            if not begun and not self._queue.encoding():
                return

    def _run_unit(self, ticket: Ticket[Any], events: list[Event]) -> None:
        try:
            if ticket.units is None:
                ticket.status, ticket.units = ENCODING, ticket.work.prepare()
                self._tell(Event(ticket, ENCODING), events)
            next(ticket.units)
        except StopIteration as end:
            if ticket.status == DECODING:
                self._end(ticket, DONE, end.value, events)
            elif end.value is None:
                self._finish(ticket, None, events)
            else:
                ticket.status, ticket.job, ticket.units = DENOISING, end.value, None
                self._tell(Event(ticket, DENOISING), events)
                if ticket.job.done:
                    self._finish(ticket, ticket.job, events)
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - it is the ticket's own
            self._fail(ticket, exc, events)
        except BaseException:  # an interrupt of whoever drives, which has ended the units: they begin anew
            ticket.units = ticket.work.finish(ticket.job) if ticket.status == DECODING else ticket.work.prepare()
            raise

    def run_pass(self, events: list[Event]) -> None:
        """One evaluation of every job that is ready.

        Of a single short one that nobody reads step by step all of them, where that is a CUDA graph.
        """
        tickets = self._queue.ready()
        if not tickets:
            return
        start = time.perf_counter()
        alone = len(self._queue) == 1 and not tickets[0].paced
        key = self._graphs.key(_job(tickets[0]), self._stages.denoiser) if alone else None
        try:
            if self._graphs.knows(key):
                self._replay(key, tickets[0], events)
            else:
                self._evaluate(tickets, events)
                if key is not None:
                    self._first_of(key, tickets[0], events)
        finally:  # an interrupt of whoever drives leaves the others where they are
            for ticket in tickets:
                if ticket.job is not None and ticket.job.done and not ticket.ended:
                    self._finish(ticket, ticket.job, events)
        self._last_pass = time.perf_counter() - start
        self._queue.passed()

    def _evaluate(self, tickets: list[Ticket[Any]], events: list[Event]) -> None:
        start = time.perf_counter()
        jobs = [_job(ticket) for ticket in tickets]
        failed = evaluate(jobs, self._stages.denoiser, _Progress(tickets))
        seconds = (time.perf_counter() - start) / len(tickets)
        for place, ticket in enumerate(tickets):
            ticket.work.stats.timings["denoise"] += seconds
            if place in failed:
                self._fail(ticket, failed[place], events)
            else:
                self._tell(Event(ticket, DENOISING, self._step_of(ticket, seconds)), events)

    def _first_of(self, key: Any, ticket: Ticket[Any], events: list[Event]) -> None:
        """Take the first job of a key to its end, to see whether the engine's work may be captured."""
        while not ticket.ended and not _job(ticket).done:
            self._evaluate([ticket], events)
        if not ticket.ended:
            self._graphs.remember(key, self._stages.denoiser)

    def _replay(self, key: Any, ticket: Ticket[Any], events: list[Event]) -> None:
        start, job = time.perf_counter(), _job(ticket)
        try:
            denoised = self._graphs.replay(key, job, self._stages.denoiser)
        except Exception as exc:  # noqa: BLE001 - it is the ticket's own
            self._fail(ticket, exc, events)
            return
        seconds = (time.perf_counter() - start) / len(denoised)
        for index, latents in enumerate(denoised):
            ticket.work.stats.timings["denoise"] += seconds
            step = Step.of(job.plan, index, ticket.image, seconds, latents, self._show(ticket))
            self._tell(Event(ticket, DENOISING, step), events)

    def _step_of(self, ticket: Ticket[Any], seconds: float) -> Step:
        job = _job(ticket)
        return Step.of(job.plan, job.evaluation - 1, ticket.image, seconds, job.denoised, self._show(ticket))

    def _show(self, ticket: Ticket[Any]) -> Callable[[Array], Image.Image]:
        return partial(self._preview, ticket.work, _job(ticket))

    def _preview(self, work: TicketWork[Any], job: Job, latents: Array) -> Image.Image:
        with self._exclusive():
            try:
                return work.show(job, latents)
            except Exception as exc:
                raise work.diagnose(job, exc) from exc

    def _finish(self, ticket: Ticket[Any], job: Job | None, events: list[Event]) -> None:
        ticket.status, ticket.units = DECODING, ticket.work.finish(job)
        self._tell(Event(ticket, DECODING), events)

    def _fail(self, ticket: Ticket[Any], error: BaseException, events: list[Event]) -> None:
        if not isinstance(error, Exception):  # whoever waits for the ticket is not what has to end
            error = OverpaintError(f"a callback raised {error!r}; have it raise an Exception, or cancel the ticket")
        self._end(ticket, FAILED, ticket.work.diagnose(ticket.job, error), events)

    def _end(self, ticket: Ticket[Any], status: str, outcome: Any, events: list[Event]) -> None:
        """Take a ticket out; its future gets the outcome."""
        if ticket.ended:
            return
        self._queue.remove(ticket)
        units, ticket.units, ticket.job, ticket.status = ticket.units, None, None, status
        if units is not None:
            units.close()
        try:
            if not ticket.future.set_running_or_notify_cancel():
                ticket.status = CANCELLED
            elif status == DONE:
                ticket.future.set_result(outcome)
            else:
                ticket.future.set_exception(outcome)
        finally:  # a callback of the future may raise what ends a process
            self._tell(Event(ticket, ticket.status), events)

    def _tell(self, event: Event, events: list[Event]) -> None:
        event.ticket.events.put(event)
        events.append(event)

    def fail_all(self, error: BaseException, events: list[Event]) -> None:
        """End all that there are with an error."""
        for ticket in self._queue.all():
            self._end(ticket, FAILED, error, events)


class _Progress:
    """Tells every work's progress how many of its rows of a pass are done; works that share one count together."""

    def __init__(self, tickets: list[Ticket[Any]]) -> None:
        self._callbacks = [ticket.work.progress for ticket in tickets]
        self._done: dict[int, int] = {}
        self._total: dict[int, int] = {}
        for ticket in tickets:
            of = id(ticket.work.progress)
            self._total[of] = self._total.get(of, 0) + _job(ticket).row_count

    def __call__(self, place: int) -> None:
        callback = self._callbacks[place]
        self._done[id(callback)] = self._done.get(id(callback), 0) + 1
        callback("denoise", self._done[id(callback)], self._total[id(callback)])


def _job(ticket: Ticket[Any]) -> Job:
    assert ticket.job is not None
    return ticket.job
