"""What runs, tools and models need of a scheduler, so that something may stand between the two."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from .tickets import Ticket, TicketWork

_Made = TypeVar("_Made")


class Lane(Protocol):
    """The way to a scheduler: itself, or what watches over the tickets that one client puts in line."""

    def submit(self, request: TicketWork[_Made], /) -> Ticket[_Made]:
        """Have work done that is no request."""
        ...

    def add(self, ticket: Ticket[_Made], /) -> Ticket[_Made]:
        """Put a ticket in line; raises as `Scheduler.add`."""
        ...

    def check_open(self) -> None:
        """Raise `ClosedError` where nothing is taken any more."""
        ...

    def drive(self, ready: Callable[[], bool], /) -> None:
        """Do a step, or wait a little for what another thread's step does, unless something is `ready` before."""
        ...

    def drop(self) -> None:
        """End what was cancelled."""
        ...

    def exclusive(self) -> AbstractContextManager[None]:
        """While it lasts, nobody else calls the model's engines."""
        ...
