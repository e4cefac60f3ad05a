"""The tickets of a scheduler: who is admitted, who takes part in a pass, whose unit comes next."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

from .tickets import DECODING, DENOISING, ENCODING, WAITING, Ticket
from .turns import by_turns

PATIENCE = 64
"""After so many passes nobody who came later goes before a ticket that waits."""


class Queue:
    """Tickets that wait and those that are active, of which there are at most `max_active`.

    `add`, `all`, `busy` and `len` may be called from any thread; the rest is the scheduler's. Who holds the `lock`
    waits for nothing else: a run that the garbage collector ends takes it anywhere.
    """

    def __init__(self, max_active: int) -> None:
        self.active: list[Ticket[Any]] = []
        self._waiting: list[Ticket[Any]] = []
        self._max_active = max_active
        self._served: set[int] = set()
        self._arrivals = itertools.count()
        self.lock = threading.RLock()

    def __len__(self) -> int:
        """How many there are."""
        with self.lock:
            return len(self._waiting) + len(self.active)

    def all(self) -> tuple[Ticket[Any], ...]:
        """Those that wait and those that are active."""
        with self.lock:
            return (*self.active, *self._waiting)

    def add(self, ticket: Ticket[Any]) -> None:
        """Put a ticket in line."""
        with self.lock:
            ticket.arrival = next(self._arrivals)
            self._waiting.append(ticket)

    def remove(self, ticket: Ticket[Any]) -> None:
        """Take a ticket out."""
        with self.lock:
            for tickets in (self.active, self._waiting):
                if ticket in tickets:
                    tickets.remove(ticket)
            self._served.discard(ticket.id)

    def admit(self) -> None:
        """Make those active that there is room for, the clients by turns, of each the most urgent first."""
        with self.lock:
            room = max(self._max_active - sum(not _held(ticket) for ticket in self.active), 0)
            if not room or not self._waiting:
                return
            clients = [ticket.client for ticket in self.active]
            self._waiting = by_turns(sorted(self._waiting, key=_urgency), lambda ticket: ticket.client, clients)
            self.active += self._waiting[:room]
            del self._waiting[:room]

    def passed(self) -> None:
        """A pass is over: those that wait have waited for one more."""
        with self.lock:
            for ticket in self._waiting:
                ticket.passes += 1

    def ready(self) -> list[Ticket[Any]]:
        """Those whose jobs take part in the next pass."""
        return [ticket for ticket in self.active if ticket.status == DENOISING and not _held(ticket)]

    def denoising(self) -> bool:
        """Whether a job is on its way."""
        return any(ticket.status == DENOISING for ticket in self.active)

    def encoding(self) -> bool:
        """Whether a ticket has no job yet."""
        return any(ticket.status in (WAITING, ENCODING) for ticket in self.active)

    @property
    def progressing(self) -> bool:
        """Whether an active ticket goes on without its reader."""
        return any(not _held(ticket) for ticket in self.active)

    @property
    def busy(self) -> bool:
        """Whether there is something to do at once."""
        with self.lock:
            return bool(self._waiting) or any(not _held(ticket) for ticket in self.active)

    def with_units(self) -> Iterator[Ticket[Any]]:
        """Those that have units to run, in rounds: each of them once, the most urgent first, before one comes again."""
        while members := [ticket for ticket in self.active if _has_units(ticket)]:
            left = [ticket for ticket in members if ticket.id not in self._served]
            if not left:
                self._served.clear()
                left = members
            chosen = min(left, key=_urgency)
            self._served.add(chosen.id)
            yield chosen


def _held(ticket: Ticket[Any]) -> bool:
    """Whether it waits for somebody to read its events."""
    return ticket.paced and ticket.status == DENOISING and len(ticket.events) > 0


def _has_units(ticket: Ticket[Any]) -> bool:
    return ticket.status in (WAITING, ENCODING, DECODING)


def _urgency(ticket: Ticket[Any]) -> tuple[bool, float, int, int]:
    """What tickets are sorted by: earliest deadline, then priority, then arrival; arrival alone after `PATIENCE`."""
    if ticket.passes >= PATIENCE:
        return False, 0.0, 0, ticket.arrival
    deadline = float("inf") if ticket.deadline is None else ticket.deadline
    return True, deadline, -ticket.priority, ticket.arrival
