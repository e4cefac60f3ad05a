"""An engine that gives way to a faster one once that has been built."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..errors import EngineError
from .base import Engine
from .wrapper import Wrapper

logger = logging.getLogger(__name__)

Upgrade = Callable[[], Engine | None]


class HotSwap(Wrapper):
    """Runs on one engine until `upgrade`, called at each poll, gives another; so no request waits for a build.

    One of the same precision takes over at once, another when nothing is in flight. One that cannot be opened is named
    in the label, and the first goes on. Both have to be on the same device.
    """

    def __init__(self, engine: Engine, upgrade: Upgrade) -> None:
        super().__init__(engine)
        self._upgrade: Upgrade | None = upgrade
        self._better: Engine | None = None
        self._failure = ""

    @property
    def label(self) -> str:
        """The engine that runs now, and why the faster one does not where it failed."""
        return f"{super().label}{self._failure}"

    @property
    def waits_for_idle(self) -> bool:
        """Whether there is a faster engine that rounds otherwise, or the engine itself waits."""
        return self._better is not None or super().waits_for_idle

    def poll(self, idle: bool = False) -> None:
        """Swap engines if there is a faster one now, and it may take over."""
        if self._upgrade:
            self._look(self._upgrade)
        if self._better and (idle or self._better.precision == self.engine.precision):
            logger.info("%s takes over from %s", self._better.label, self.engine.label)
            self.engine.close()
            self.engine, self._better = self._better, None
        super().poll(idle)

    def close(self) -> None:
        """Close the engine that runs now, and the one that waits; no other follows."""
        self._upgrade = None
        if self._better:
            self._better.close()
            self._better = None
        super().close()

    def _look(self, upgrade: Upgrade) -> None:
        try:
            self._better = upgrade()
        except EngineError as exc:
            self._upgrade, self._failure = None, f" (no faster engine: {exc})"
        if self._better:
            self._upgrade = None
