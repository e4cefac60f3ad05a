"""Places in the queue of a service."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType


class Place:
    """A place in the queue, for a call from its arrival on; leaving it without a job gives the place back."""

    def __init__(self, give_back: Callable[[BaseException | None], None]) -> None:
        self.arrived = time.monotonic()
        self._give_back = give_back
        self._held = True

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.taken():
            self._give_back(error)

    def taken(self) -> bool:
        """Whether it was still held; it is not any more."""
        held, self._held = self._held, False
        return held
