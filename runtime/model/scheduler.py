"""The one owner of the device: a loop that encodes, denoises and decodes for everybody, a step at a time."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, overload

from ...engines.arrays import device_lock
from ...errors import ClosedError, InputError
from ..denoising.loop_graphs import LoopGraphs
from ..requests.request import Request
from ..requests.result import Output
from .queue import Queue
from .stages import Stages
from .tickets import Event, Ticket, TicketWork
from .worker import Worker

MAX_ACTIVE = 32
"""The most tickets that are encoded, denoised or decoded at once; the others wait in line."""

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
    `queue.PATIENCE` passes only those that came before go ahead of one. That is the order of each client's; between
    clients it takes turns. At most `max_active` are worked on at once,
    besides those that wait for their readers, and each of them takes part in every pass.

    A faster engine of the same precision takes over between two steps; for one that rounds otherwise nobody is admitted
    until those under way are done, for at most `worker.DRAIN_STEPS` steps; then for as many they are, before the next
    attempt.

    `step` does the work; a thread that `start` makes calls it, or, where there is none, whoever waits for a result. All
    methods may be called from any thread, but only in the process that made it.
    """

    def __init__(
        self, stages: Stages, work_of: Callable[[Request], TicketWork[Output]], max_active: int = MAX_ACTIVE
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
        self._stepping = False
        self._worker = Worker(stages, self._queue, self._graphs, self.exclusive)

    @overload
    def submit(self, request: Request, *, deadline: float | None = None, priority: int = 0) -> Ticket[Output]: ...

    @overload
    def submit(
        self, request: TicketWork[_Made], *, deadline: float | None = None, priority: int = 0
    ) -> Ticket[_Made]: ...

    def submit(
        self, request: Request | TicketWork[Any], *, deadline: float | None = None, priority: int = 0
    ) -> Ticket[Any]:
        """Have a request answered, or other work done; returns at once with its ticket.

        A request is checked here, and raises `InputError` where the model cannot answer it.

        `deadline` is in seconds of `time.monotonic`: past it the ticket fails with `RunTimeoutError` before its next
        evaluation. Higher priorities, whole numbers, come first. Raises `ClosedError` after `close`, and `InputError`
        for a deadline in the past and in another process.
        """
        work = self._work_of(request) if isinstance(request, Request) else request
        if not hasattr(work, "prepare"):
            raise InputError(f"a request is submitted, not {type(work).__name__}; make one with overpaint.Request")
        return self.add(Ticket(work, deadline, priority))

    def add(self, ticket: Ticket[_Made]) -> Ticket[_Made]:
        """Put a ticket in line that was made beforehand, to share its events or to be paced; raises as `submit`."""
        self._check_process()
        ticket.check()
        if ticket.owner is not None:
            raise InputError(f"{ticket} was submitted before; submit its work again for another")
        ticket.owner = self
        with self._work:
            self.check_open()
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
            events = list[Event]()
            try:
                self._stepping = _thread.stepping = True
                if not self._closed:
                    self._worker.between_passes(events)
                    self._announce()
                if not self._closed:  # also not by a callback
                    self._worker.run_pass(events)
            except Exception as exc:  # such as an engine's poll: nobody's own, and nobody may wait for ever
                self._worker.fail_all(exc, events)
                raise
            finally:
                self._stepping = _thread.stepping = False
                if self._closed:  # by a callback
                    self._worker.drop(events)
                self._announce()
            return events

    def drop(self) -> None:
        """End what was cancelled now, or by the next step where somebody is at work. Never waits."""
        if self._process == os.getpid() and self._driving.acquire(blocking=False):
            try:
                if not self._stepping:  # a generator may be closed, and so a run left, in the middle of a step
                    self._worker.drop([])
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
        try:
            with self._news:
                if ready():
                    return
                if (self._thread or self._driver or here) is not here:
                    self._work.notify_all()  # what waited for its reader may go on
                    self._news.wait(0.1)
                    return
                self._driver = here
            self.step()
        finally:
            if self._driver is here:
                self._driver = None
                self._announce()

    def start(self) -> None:
        """Have a thread of its own do the work, until `close`."""
        self._check_process()
        with self._work:
            self.check_open()
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

    def check_open(self) -> None:
        """Raise `ClosedError` where it takes nothing more."""
        if self._closed:
            raise ClosedError("the model is closed; load it again")

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
            except Exception:  # noqa: BLE001 - all tickets have ended with it
                _log.exception("a step failed, and with it all work")
            except BaseException:  # noqa: BLE001 - a future's callback; the thread is everybody's
                _log.exception("a callback raised what would end the scheduler's thread")
            with self._work:
                if not self._closed and not self._queue.busy:
                    self._work.wait(0.02 if self._queue else None)

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
