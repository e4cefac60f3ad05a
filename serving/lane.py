"""The way of one job to its scheduler: what the job's tools put in line is the job's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from ..runtime.model.lane import Lane
from ..runtime.model.tickets import Event, Events, Ticket, TicketWork

_Made = TypeVar("_Made")


class Owner(Protocol):
    """The job."""

    def join(self, ticket: Ticket[Any]) -> None:
        """Take a ticket as its own."""
        ...

    def heard(self, event: Event) -> None:
        """Hear what happened to it."""
        ...


class JobLane:
    """A `Lane` on which every ticket joins the job before it is put in line."""

    def __init__(self, lane: Lane, owner: Owner) -> None:
        self._lane, self._owner = lane, owner

    def submit(self, work: TicketWork[_Made]) -> Ticket[_Made]:
        """Have work done that is no request."""
        return self.add(Ticket(work))

    def add(self, ticket: Ticket[_Made]) -> Ticket[_Made]:
        """Put a ticket in line; raises as `Scheduler.add` and `Job.join` do."""
        self._owner.join(ticket)
        ticket.events = Overheard(ticket.events, self._owner)
        return self._lane.add(ticket)

    def check_open(self) -> None:
        """Raise `ClosedError` where nothing is taken any more."""
        self._lane.check_open()

    def drive(self, ready: Callable[[], bool]) -> None:
        """Wait a little for what the scheduler's thread does."""
        self._lane.drive(ready)

    def drop(self) -> None:
        """End what was cancelled."""
        self._lane.drop()

    def exclusive(self) -> AbstractContextManager[None]:
        """While it lasts, nobody else calls the model's engines."""
        return self._lane.exclusive()


class Overheard(Events):
    """Events that the job hears, too, as they come."""

    def __init__(self, inner: Events, owner: Owner) -> None:
        super().__init__()
        self._inner, self._owner = inner, owner

    def put(self, event: Event) -> None:
        """Add an event."""
        self._inner.put(event)
        self._owner.heard(event)

    def take(self) -> Event | None:
        """The next event, None where there is none yet."""
        return self._inner.take()

    def __len__(self) -> int:
        return len(self._inner)
