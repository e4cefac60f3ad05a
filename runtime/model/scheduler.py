"""The one owner of the device: a loop that encodes, denoises and decodes for everybody, a step at a time."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, overload

from PIL import Image

from ...bundles.tensor import Array
from ...engines.arrays import device_lock
from ...errors import ClosedError, InputError, RunTimeoutError
from ..denoising.job import Job
from ..denoising.loop import Step, evaluate
from ..denoising.loop_graphs import LoopGraphs
from ..requests import checks
from ..requests.request import Request
from ..requests.result import Output
from .queue import Queue
from .stages import Stages
from .tickets import CANCELLED, DECODING, DENOISING, DONE, ENCODING, FAILED, Event, Ticket, Work, cancelled

MAX_ACTIVE = 32
"""The most tickets that are encoded, denoised or decoded at once; the others wait in line."""

DRAIN_STEPS = 200
"""For how many steps nobody is admitted so that an engine of another precision may take over."""

_Made = TypeVar("_Made")
_log = logging.getLogger(__name__)
_thread = threading.local()


class Scheduler:
    """The only caller of a model's text encoder, autoencoder and denoiser.

    Tickets are worked on together: they join between two passes of the denoiser, one evaluation of every active job's
    plan a pass, and leave when they are done, fail or are cancelled; a failure is its own ticket's. Between two passes
    units of encoding and decoding run, one at least, and then until they have taken as long as the pass before; so no
    decode of a large picture holds up the others by more than one window. Where no job is under way, all that wait are
    encoded first, so that they share every pass.

    Tickets that wait are taken by their deadlines, then by priority, then in the order in which they came; after
    `queue.PATIENCE` passes only those that came before go ahead of one. At most `max_active` are worked on at once, and
    of these each takes part in every pass.

    A faster engine of the same precision takes over between two steps; for one that rounds otherwise nobody is admitted
    until those under way are done, for at most `DRAIN_STEPS` steps; then for as many they are, before the next attempt.

    `step` does the work; a thread that `start` makes calls it, or, where there is none, whoever waits for a result. All
    methods may be called from any thread, but only in the process that made it.
    """

    def __init__(
        self, stages: Stages, work_of: Callable[[Request], Work[Output]], max_active: int = MAX_ACTIVE
    ) -> None:
        """`work_of` checks a request and says what is to be done for it."""
        self._stages = stages
        self._work_of = work_of
        self._queue = Queue(max_active)
        self._driving = threading.RLock()
        self._work = threading.Condition(self._queue.lock)  # there is some, for the thread
        self._news = threading.Condition(self._queue.lock)  # something has happened, for those that wait
        self._graphs = LoopGraphs()
        self._thread: threading.Thread | None = None
        self._driver: threading.Thread | None = None
        self._closed = False
        self._process = os.getpid()
        self._last_pass = 0.0
        self._stepping = False
        self._draining = 0

    @overload
    def submit(self, request: Request, *, deadline: float | None = None, priority: int = 0) -> Ticket[Output]: ...

    @overload
    def submit(self, request: Work[_Made], *, deadline: float | None = None, priority: int = 0) -> Ticket[_Made]: ...

    def submit(self, request: Request | Work[Any], *, deadline: float | None = None, priority: int = 0) -> Ticket[Any]:
        """Have a request answered, or other work done; returns at once with its ticket.

        A request is checked here, and raises `InputError` where the model cannot answer it.

        `deadline` is in seconds of `time.monotonic`: past it the ticket fails with `RunTimeoutError` before its next
        evaluation. Higher priorities, whole numbers, come first. Raises `ClosedError` after `close`, and `InputError`
        for a deadline in the past and in another process.
        """
        work = self._work_of(request) if isinstance(request, Request) else request
        return self.add(Ticket(work, deadline, priority))

    def add(self, ticket: Ticket[_Made]) -> Ticket[_Made]:
        """Put a ticket in line that was made beforehand, to share its events or to be paced; raises as `submit`."""
        self._check_process()
        _check_urgency(ticket)
        ticket.owner = self
        with self._work:
            if self._closed:
                raise ClosedError("the model is closed; load it again")
            self._queue.add(ticket)
            self._work.notify_all()
        return ticket

    def step(self) -> list[Event]:
        """Do the next piece of work; returns what happened to the tickets.

        Poll the engines, drop the cancelled and the expired, admit those that wait, run units of encoding and decoding,
        and take one evaluation of every active job. Raises `InputError` where a callback of a step calls it.
        """
        self._check_caller()
        with self.exclusive():
            self._stepping, events = True, list[Event]()
            _thread.stepping = True
            try:
                self._step(events)
            finally:
                self._stepping = _thread.stepping = False
                if self._closed:  # by a callback
                    self._drop(events)
                self._announce()
            return events

    def _step(self, events: list[Event]) -> None:
        if self._closed:
            return
        for engine in self._stages.engines.values():
            engine.poll(idle=not self._queue.active)
        self._drop(events)
        self._admit()
        self._run_units(events)
        self._announce()
        self._run_pass(events)

    def drop(self) -> None:
        """End what was cancelled now, or by the next step where somebody is at work. Never waits."""
        if self._process == os.getpid() and self._driving.acquire(blocking=False):
            try:
                if not self._stepping:  # a generator may be closed, and so a run left, in the middle of a step
                    self._drop([])
                    self._announce()
            finally:
                self._driving.release()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """While it lasts, nobody else calls the model's engines: for what is no ticket, such as a preview."""
        self._check_process()
        with device_lock(self._stages.device), self._driving:
            yield

    def wait(self, ticket: Ticket[_Made], timeout: float | None = None) -> _Made:
        """The result of a ticket, driven here where no thread runs; raises what became of it instead.

        Raises `TimeoutError` after `timeout` seconds, which does not end the ticket.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not ticket.ended:
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"{ticket} has not ended after {timeout:g} s")
            self.drive(lambda: ticket.ended)
        if ticket.error is not None:
            raise ticket.error
        return ticket.future.result()

    def drive(self, ready: Callable[[], bool]) -> None:
        """Do a step, unless something is `ready` before; or wait a little for what another thread's step does."""
        self._check_process()
        self._check_caller()
        here = threading.current_thread()
        with self._news:
            if ready():
                return
            if (self._thread or self._driver or here) is not here:
                self._work.notify_all()  # what waited for its reader may go on
                self._news.wait(0.1)
                return
            self._driver = here
        try:
            self.step()
        finally:
            with self._news:
                self._driver = None
                self._news.notify_all()

    def start(self) -> None:
        """Have a thread of its own do the work, until `close`."""
        self._check_process()
        with self._work:
            if self._closed:
                raise ClosedError("the model is closed; load it again")
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="overpaint-scheduler", daemon=True)
                self._thread.start()

    def drain(self) -> None:
        """Wait until everything that was submitted has ended, but for what waits for its reader; the work is done here
        where no thread runs."""
        self._check_process()
        while self._queue.busy:
            self.drive(lambda: not self._queue.busy)

    def close(self) -> None:
        """Cancel what has not ended, stop the thread and take nothing more; the engines are the model's to close."""
        if self._process != os.getpid():
            self._closed = True  # the locks and the thread are the other process's
            return
        with self._work:
            self._closed = True
            for ticket in self._queue.all():
                ticket.cancelling = True
            self._work.notify_all()
        if self._thread is not None and threading.current_thread() is not self._thread:
            self._thread.join()
        with self._driving:
            self._graphs.clear()
            self.drop()

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more."""
        return self._closed

    @property
    def tickets(self) -> tuple[Ticket[Any], ...]:
        """Those that have not ended."""
        return self._queue.all()

    def _serve(self) -> None:
        while not self._closed:
            try:
                self.step()
            except BaseException as exc:  # noqa: BLE001 - an engine's poll; nobody may wait for a thread that is gone
                _log.exception("a step failed, and with it all work under way")
                self._fail_all(exc)
            with self._work:
                if not self._closed and not self._queue.busy:
                    self._work.wait(0.02 if self._queue else None)

    def _fail_all(self, error: BaseException) -> None:
        with self._driving:
            for ticket in self._queue.all():
                self._end(ticket, FAILED, error, [])
        self._announce()

    def wake(self) -> None:
        """Have the thread that waits for work look; a child of a fork has none, and its locks may be held for ever."""
        if self._process == os.getpid():
            with self._work:
                self._work.notify_all()

    def _announce(self) -> None:
        """Have those that wait look at what happened."""
        with self._news:
            self._news.notify_all()

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise InputError(
                "the model was loaded in another process; a fork does not carry an engine's threads over: load it "
                "after the fork, or start the process by 'spawn'"
            )

    def _check_caller(self) -> None:
        if getattr(_thread, "stepping", False):  # of whatever model: the one may hold the device that the other needs
            raise InputError(
                "a callback waits for a model while one calls it; submit what it needs and return, or have another "
                "thread wait"
            )

    def _admit(self) -> None:
        """Admit those that wait, unless an engine waits for the device to fall idle: then every other `DRAIN_STEPS`."""
        waits = any(engine.waits_for_idle for engine in self._stages.engines.values())
        self._draining = self._draining + 1 if waits else 0
        draining = waits and (self._draining - 1) // DRAIN_STEPS % 2 == 0
        if not (draining and self._queue.progressing):
            self._queue.admit()

    def _drop(self, events: list[Event]) -> None:
        """End the cancelled, and those whose deadline is past."""
        now = time.monotonic()
        for ticket in self._queue.all():
            if ticket.cancelling or ticket.future.cancelled():
                self._end(ticket, CANCELLED, cancelled(), events)
            elif ticket.deadline is not None and now > ticket.deadline:
                done, total = (ticket.job.evaluation, len(ticket.job.plan)) if ticket.job else (0, 0)
                where = f"after {done} of {total} evaluations" if total else "before its first evaluation"
                error = RunTimeoutError(f"stopped {where}: its deadline is past; give more time, or ask for less")
                self._end(ticket, FAILED, error, events)

    def _run_units(self, events: list[Event]) -> None:
        """Encode and decode; see the class for how much of it."""
        begun, spent = self._queue.denoising(), 0.0
        for ticket in self._queue.with_units():
            start = time.perf_counter()
            self._run_unit(ticket, events)
            spent += time.perf_counter() - start
            if begun and spent >= self._last_pass:
                return
            if not begun and not self._queue.encoding():
                return

    def _run_unit(self, ticket: Ticket[Any], events: list[Event]) -> None:
        if ticket.units is None:
            ticket.status, ticket.units = ENCODING, ticket.work.prepare()
            self._tell(Event(ticket, ENCODING), events)
        try:
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
        except Exception as exc:  # noqa: BLE001 - it is the ticket's own
            self._fail(ticket, exc, events)
        except BaseException:  # an interrupt of whoever drives, which has ended the units: they begin anew
            ticket.units = ticket.work.finish(ticket.job) if ticket.status == DECODING else ticket.work.prepare()
            raise

    def _run_pass(self, events: list[Event]) -> None:
        """One evaluation of every job that is ready; of a single short one all of them, where that is a CUDA graph."""
        tickets = self._queue.ready()
        if not tickets:
            return
        start = time.perf_counter()
        key = self._graphs.key(_job(tickets[0]), self._stages.denoiser) if len(self._queue) == 1 else None
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

    def _preview(self, work: Work[Any], job: Job, latents: Array) -> Image.Image:
        with self.exclusive():
            try:
                return work.show(job, latents)
            except Exception as exc:
                raise work.diagnose(job, exc) from exc

    def _finish(self, ticket: Ticket[Any], job: Job | None, events: list[Event]) -> None:
        ticket.status, ticket.units = DECODING, ticket.work.finish(job)
        self._tell(Event(ticket, DECODING), events)

    def _fail(self, ticket: Ticket[Any], error: Exception, events: list[Event]) -> None:
        self._end(ticket, FAILED, ticket.work.diagnose(ticket.job, error), events)

    def _end(self, ticket: Ticket[Any], status: str, outcome: Any, events: list[Event]) -> None:
        """Take a ticket out; its future gets the outcome."""
        if ticket.ended:
            return
        self._queue.remove(ticket)
        units, ticket.units, ticket.job, ticket.status = ticket.units, None, None, status
        if units is not None:
            units.close()
        if not ticket.future.set_running_or_notify_cancel():
            ticket.status = CANCELLED
        elif status == DONE:
            ticket.future.set_result(outcome)
        else:
            ticket.future.set_exception(outcome)
        self._tell(Event(ticket, ticket.status), events)

    def _tell(self, event: Event, events: list[Event]) -> None:
        event.ticket.events.put(event)
        events.append(event)


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


def _check_urgency(ticket: Ticket[Any]) -> None:
    """Raise `InputError` for a deadline or a priority that order nothing, and for a deadline in the past."""
    with checks.of("priority"):
        checks.whole("priority", ticket.priority, -(2**31), 2**31)
    if ticket.deadline is None:
        return
    with checks.of("deadline"):
        checks.number("the deadline", ticket.deadline, float("-inf"), float("inf"))
        late = time.monotonic() - ticket.deadline
        if late >= 0:
            raise InputError(f"the deadline is {late:.1f} s past; give one of time.monotonic() to come")


def _job(ticket: Ticket[Any]) -> Job:
    assert ticket.job is not None
    return ticket.job
