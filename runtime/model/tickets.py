"""Tickets: pieces of work that a scheduler was given, what happens to them, and what comes of them."""

from __future__ import annotations

import itertools
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from PIL import Image

from ...bundles.tensor import Array
from ...errors import CancelledError, InputError
from ..denoising.job import Job
from ..denoising.loop import Step
from ..progress import ProgressCallback
from ..requests import checks
from ..units import Units
from .stats import RunStats

Made = TypeVar("Made")
Made_co = TypeVar("Made_co", covariant=True)

WAITING, ENCODING, DENOISING, DECODING = "waiting", "encoding", "denoising", "decoding"
DONE, FAILED, CANCELLED = "done", "failed", "cancelled"
ENDED = (DONE, FAILED, CANCELLED)


class TicketWork(Protocol[Made_co]):
    """What a scheduler does for a ticket: units that prepare a job, the job's evaluations, units that finish it."""

    @property
    def stats(self) -> RunStats:
        """What it took so far."""
        ...

    @property
    def progress(self) -> ProgressCallback:
        """What is called with how many of a stage's parts are done."""
        ...

    def prepare(self) -> Units[Job | None]:
        """The job to denoise, or None where there is none."""
        ...

    def finish(self, job: Job | None, /) -> Units[Made_co]:
        """What comes of it."""
        ...

    def show(self, job: Job, latents: Array, /) -> Image.Image:
        """Latents of the job as a picture."""
        ...

    def diagnose(self, job: Job | None, error: Exception, /) -> Exception:
        """The error to report for one that was seen."""
        ...


class TicketOwner(Protocol):
    """What a ticket needs of its scheduler."""

    def wake(self) -> None:
        """Have a thread that waits look again."""
        ...

    def wait(self, ticket: Ticket[Any], timeout: float | None = None) -> Any:
        """The result of a ticket."""
        ...


@dataclass(frozen=True)
class Event:
    """Something that happened to a ticket: its status now, and the step that it took, if that is what happened."""

    ticket: Ticket[Any]
    status: str
    step: Step | None = None


class Events:
    """What happened to one ticket or several, in order, to be read once, by any thread."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()

    def __bool__(self) -> bool:
        """Whether there is one, or will be: events are no empty list."""
        return True

    def put(self, event: Event) -> None:
        """Add an event."""
        self._events.append(event)

    def take(self) -> Event | None:
        """The next event, None where there is none yet."""
        try:
            return self._events.popleft()
        except IndexError:
            return None

    def __len__(self) -> int:
        """How many have not been read."""
        return len(self._events)


class Unread(Events):
    """Events that nobody reads: none is kept, nor the latents of its step."""

    def put(self, event: Event) -> None:
        """Let go of an event."""


def cancelled() -> CancelledError:
    """The error of a ticket that was cancelled."""
    return CancelledError("the work was cancelled and has no result; start it again")


_ids = itertools.count(1)


@dataclass(eq=False)
class Ticket(Generic[Made]):
    """One piece of work in a scheduler. `future` has its result or its error; `asyncio.wrap_future(ticket.future)`
    awaits it.

    `deadline` is in seconds of `time.monotonic`; `image` is its index in a run; between `client`s the scheduler takes
    turns. A `paced` one takes a step only once
    its events are read. `events` may be shared by several.
    """

    work: TicketWork[Made]
    deadline: float | None = None
    priority: int = 0
    image: int = 0
    client: str = ""
    paced: bool = False
    events: Events = field(default_factory=Events)
    future: Future[Made] = field(default_factory=Future)
    status: str = WAITING
    id: int = field(default_factory=lambda: next(_ids))
    job: Job | None = None
    units: Units[Any] | None = None
    arrival: int = 0
    """Its place in the order in which tickets were added."""
    passes: int = 0
    """How many passes of the scheduler it has waited for."""
    cancelling: bool = False
    owner: TicketOwner | None = field(default=None, repr=False)
    """The scheduler that it was added to."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ENDED

    @property
    def cancelled(self) -> bool:
        """Whether it, or its future, was cancelled before it ended; the next step then ends it."""
        return self.cancelling or self.future.cancelled()

    @property
    def error(self) -> BaseException | None:
        """What one that has ended failed with: `CancelledError` where it was cancelled, None where it is done."""
        return cancelled() if self.future.cancelled() else self.future.exception()

    def check(self) -> None:
        """Raise `InputError` for a deadline or a priority that order nothing, and for a deadline in the past."""
        with checks.of("priority"):
            checks.whole("priority", self.priority, -(2**31), 2**31)
        if self.deadline is None:
            return
        with checks.of("deadline"):
            checks.number("the deadline", self.deadline, float("-inf"), float("inf"))
            late = time.monotonic() - self.deadline
            if late >= 0:
                raise InputError(f"the deadline is {late:.1f} s past; give one of time.monotonic() to come")

    def cancel(self) -> bool:
        """Stop it before its next evaluation or unit, from any thread; whether it had not ended yet.

        Its result is then a `CancelledError`.
        """
        if self.ended:
            return False
        self.cancelling = True
        if self.owner is not None:
            self.owner.wake()
        return True

    def result(self, timeout: float | None = None) -> Made:
        """What came of it; where no thread runs the scheduler, the work is done here meanwhile.

        Raises what it failed with, and `TimeoutError` after `timeout` seconds, which does not end the ticket.
        `future.result()` waits alone: it needs a scheduler whose thread was started.
        """
        if self.owner is None:
            return self.future.result(timeout)
        made: Made = self.owner.wait(self, timeout)
        return made

    def __repr__(self) -> str:
        return f"Ticket({self.id}, {self.status})"
