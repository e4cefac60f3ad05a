"""Places in the queue of a service."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType


class Place:
    """A place in the queue, for a call from its arrival on; leaving it without a job gives the place back."""

    def __init__(self, owner: str, give_back: Callable[[str, BaseException | None], None]) -> None:
        self.owner = owner
        self.arrived = time.monotonic()
        self._give_back = give_back
        self._held = True

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.taken():
            self._give_back(self.owner, error)

    def taken(self) -> bool:
        """Whether it was still held; it is not any more."""
        held, self._held = self._held, False
        return held


class Places:
    """Counts the places of calls that are no jobs yet, by owner. Whoever uses it holds a lock.

    Who has a job or a place leaves one to each key that has neither, as long as those are no more than half of the
    queue: one that floods keeps nobody out.
    """

    def __init__(self, limit: int, keys: int) -> None:
        """`limit` is that of jobs and places together, `keys` how many may call."""
        self._limit, self._keys = limit, keys
        self._held = Counter[str]()

    def __len__(self) -> int:
        """How many are taken."""
        return self._held.total()

    def take(self, owner: str, jobs: Sequence[str]) -> bool:
        """Take a place; whether there was one. `jobs` are the owners of those that are open."""
        present = {*jobs, *(+self._held)}
        kept = min(max(self._keys - len(present), 0), self._limit // 2) if owner in present and self._keys > 1 else 0
        free = len(jobs) + len(self) + kept < self._limit
        self._held[owner] += free
        return free

    def leave(self, owner: str) -> None:
        """Give one back."""
        self._held[owner] -= 1
        self._held += Counter()  # forgets those that have none
