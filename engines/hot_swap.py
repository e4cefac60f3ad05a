"""An engine that hands over to a faster one once that has been built."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from ..errors import EngineError
from .base import Engine
from .wrapper import Wrapper

Upgrade = Callable[[], Engine | None]


class HotSwap(Wrapper):
    """Runs on one engine until `upgrade` gives another, asked when a run begins; so no request waits for a build.

    One that cannot be opened is told in the label, and the first goes on. Both have to be on the same device.
    """

    def __init__(self, engine: Engine, upgrade: Upgrade) -> None:
        super().__init__(engine)
        self._upgrade: Upgrade | None = upgrade
        self._failure = ""
        self._runs = 0
        self._lock = Lock()

    @property
    def label(self) -> str:
        """The engine that runs now, and why the faster one does not where it failed."""
        return f"{super().label}{self._failure}"

    def begin_run(self) -> None:
        """Hand over if there is something faster now and no other run goes on."""
        with self._lock:
            if not self._runs and self._upgrade:
                self._hand_over(self._upgrade)
            self._runs += 1
            super().begin_run()

    def end_run(self) -> None:
        """The next run may be on another engine, if no other goes on."""
        with self._lock:
            self._runs -= 1
            super().end_run()

    def _hand_over(self, upgrade: Upgrade) -> None:
        try:
            better = upgrade()
        except EngineError as exc:
            self._upgrade, self._failure = None, f" (no faster engine: {exc})"
            return
        if better:
            self.engine.close()
            self.engine, self._upgrade = better, None

    def close(self) -> None:
        """Close the engine that runs now; no other follows."""
        self._upgrade = None
        super().close()
