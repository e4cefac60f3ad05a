"""How far a build is, and its end before that: on an interrupt, or where whoever is told wants none of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

# Told the graph and how much of its build is done, 0 to 1; False cancels.
Report = Callable[[str, float], bool]
_Value = TypeVar("_Value")


@dataclass
class _Phase:
    parent: _Phase | None
    steps: int
    done: int = 0

    def share(self) -> float:
        """How much of the outermost phase is done, 0 to 1."""
        phase: _Phase | None = self
        inside = 0.0
        while phase:
            inside = min((phase.done + inside) / max(phase.steps, 1), 1.0)
            phase = phase.parent
        return inside


class Progress:
    """The state of one build, told from the library's threads by the beginning, steps and end of nested phases.

    What the receiver raises stops the build, and is in `failure`, since it must not pass through the library.
    """

    def __init__(self, name: str, report: Report) -> None:
        self.name = name
        self.cancelled = False
        self.failure: BaseException | None = None
        self._report = report
        self._most = 0.0
        self._phases: dict[str, _Phase] = {}
        self._lock = threading.Lock()

    def begin(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps begins, as part of its parent's current step."""
        with self._lock:
            self._phases[phase] = _Phase(self._phases.get(parent) if parent else None, steps)

    def step(self, phase: str, step: int) -> bool:
        """A step of a phase is done, counted from 0; False where the build shall stop."""
        with self._lock:
            self._phases[phase].done = step + 1
            # Several profiles make the library go through some phases again.
            self._most = max(self._most, self._phases[phase].share())
            try:
                self.cancelled = self.cancelled or self._report(self.name, self._most) is False
            except BaseException as exc:  # noqa: BLE001
                self.failure, self.cancelled = exc, True
            return not self.cancelled

    def end(self, phase: str) -> None:
        """A phase ends."""
        with self._lock:
            self._phases.pop(phase, None)

    def run(self, build: Callable[[], _Value]) -> _Value:
        """Build in a thread, so that an interrupt reaches this one, which has the build stop and waits for that."""
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(build)
            try:
                return future.result()
            except BaseException:
                self.cancelled = True
                raise
