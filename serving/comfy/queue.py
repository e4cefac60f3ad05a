"""The workflows of an owner: those that wait, those that run, and those that have ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from ..pool import Pool
from .narrator import Narrator
from .sockets import Sockets
from .submissions import CANCELLED, DONE, FAILED, RUNNING, Submission, now

KEPT = 1000
"""Ended workflows that the history keeps."""

Runner = Callable[[Submission, Narrator], str]
"""Runs a workflow and says how it ended: completed, failed or cancelled."""


class Queue:
    """Workflows of several clients run at once, those of one client one after the other, in the order of their numbers.

    All methods may be called from any thread.
    """

    def __init__(self, pool: Pool, sockets: Sockets, runner: Runner, owner: str = "") -> None:
        self._pool, self._sockets, self._runner, self._owner = pool, sockets, runner, owner
        self._lock = threading.RLock()
        self._waiting: list[Submission] = []
        self._running: dict[str, Submission] = {}
        self._ended: dict[str, Submission] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many wait or run."""
        with self._lock:
            return len(self._waiting) + len(self._running)

    def number(self) -> int:
        """The number of the next one."""
        with self._lock:
            self._count += 1
            return self._count - 1

    def add(self, submission: Submission) -> None:
        """Have it run when its turn comes."""
        with self._lock:
            self._waiting.append(submission)
            self._waiting.sort(key=lambda each: each.number)
        self.tell()
        self._pool.submit(self._next, self._owner)

    def rows(self) -> dict[str, Any]:
        """What /queue shows."""
        with self._lock:
            running, waiting = [*self._running.values()], [*self._waiting]
        return {"queue_running": [each.row for each in running], "queue_pending": [each.row for each in waiting]}

    def history(self, id: str | None = None) -> list[Submission]:
        """Those that have ended, the oldest first; or one, if it has."""
        with self._lock:
            return [each for each in self._ended.values() if id in (None, each.id)]

    def all(self) -> list[Submission]:
        """All that are known."""
        with self._lock:
            return [*self._waiting, *self._running.values(), *self._ended.values()]

    def running_of(self, client: str) -> list[Submission]:
        """Those of a client that run."""
        with self._lock:
            return [each for each in self._running.values() if each.client == client]

    def known(self, id: str) -> bool:
        """Whether there is one of this id."""
        return any(each.id == id for each in self.all())

    def forget(self, ids: Iterable[str] | None = None) -> None:
        """Remove some from the history, or all."""
        with self._lock:
            for id in list(self._ended) if ids is None else ids:
                self._ended.pop(id, None)

    def drop(self, ids: Iterable[str] | None = None) -> list[str]:
        """Take some that wait out of the queue, or all; gives which."""
        with self._lock:
            gone = [each for each in self._waiting if ids is None or each.id in set(ids)]
            self._waiting = [each for each in self._waiting if each not in gone]
        if gone:
            self.tell()
        return [each.id for each in gone]

    def interrupt(self, id: str | None = None) -> bool:
        """Cancel one that runs, or all that do; whether there was any."""
        with self._lock:
            chosen = [each for each in self._running.values() if id in (None, each.id)]
        for each in chosen:
            each.cancel.set()
        return bool(chosen)

    def tell(self) -> None:
        """Tell all clients how many wait or run."""
        self._sockets.send("status", {"status": self.status()})

    def status(self) -> dict[str, Any]:
        """How many wait or run, as clients read it."""
        return {"exec_info": {"queue_remaining": len(self)}}

    def _next(self) -> None:
        """Run the first whose client has none that runs; when it ends, another is looked for."""
        with self._lock:
            busy = {each.client for each in self._running.values() if each.client}
            submission = next((each for each in self._waiting if each.client not in busy), None)
            if submission is None:
                return
            self._waiting.remove(submission)
            self._running[submission.id] = submission
            submission.status, submission.started = RUNNING, now()
        self.tell()
        narrator = Narrator(submission, self._sockets)
        status = FAILED
        try:
            status = self._runner(submission, narrator)
        finally:
            self._end(submission, status)
            narrator.ended()

    def _end(self, submission: Submission, status: str) -> None:
        assert status in (DONE, FAILED, CANCELLED)
        with self._lock:
            submission.status, submission.finished, submission.current = status, now(), None
            del self._running[submission.id]
            self._ended[submission.id] = submission
            while len(self._ended) > KEPT:
                del self._ended[next(iter(self._ended))]
            more = bool(self._waiting)
        self.tell()
        if more:
            try:
                self._pool.submit(self._next, self._owner)
            except RuntimeError:  # the pool is closed: the server ends
                self.drop()
