"""Things to do at a time: one thread for all of them."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Timers:
    """Calls functions once their time, in seconds of `time.monotonic`, has come; until `close`."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="overpaint-timers", daemon=True)
        self._thread.start()

    def at(self, when: float, function: Callable[[], None]) -> None:
        """Have a function called."""
        with self._changed:
            heapq.heappush(self._due, (when, next(self._counter), function))
            self._changed.notify()

    def close(self) -> None:
        """Call nothing any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _serve(self) -> None:
        while (function := self._next()) is not None:
            try:
                function()
            except Exception:  # noqa: BLE001 - the others are still to be called
                _log.exception("a timer's function failed")

    def _next(self) -> Callable[[], None] | None:
        """What is to be called now, once there is something; None in the end."""
        with self._changed:
            while not self._closed:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
            return None
