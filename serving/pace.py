"""How fast a service answers, as it was measured: when is there room again?"""

from __future__ import annotations

import math
import threading
import time
from collections import deque

_KEPT = 32


class Pace:
    """Seconds between the ends of the last jobs, while there was work."""

    def __init__(self) -> None:
        self._gaps: deque[float] = deque(maxlen=_KEPT)
        self._last = time.monotonic()
        self._lock = threading.Lock()

    def begun(self) -> None:
        """Work begins after a time without."""
        with self._lock:
            self._last = time.monotonic()

    def ended(self) -> None:
        """A job has ended."""
        with self._lock:
            now = time.monotonic()
            self._gaps.append(now - self._last)
            self._last = now

    def seconds_until_room(self, ahead: int = 1) -> int:
        """Whole seconds, at least 1, until so many more jobs have ended."""
        with self._lock:
            mean = sum(self._gaps) / len(self._gaps) if self._gaps else 1.0
        return max(1, math.ceil(mean * ahead))
