"""The threads that tools run in, which clients share by turns."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..runtime.model.turns import by_turns

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Task:
    client: str
    priority: int
    function: Callable[[], object]


class Pool:
    """At most `size` threads; they take tasks by turns of the clients, of each by priority and then as they came."""

    def __init__(self, size: int, name: str) -> None:
        self._size, self._name = size, name
        self._waiting: list[_Task] = []
        self._under_way: list[str] = []
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._closed = False

    def submit(self, function: Callable[[], object], client: str = "", priority: int = 0) -> None:
        """Have a function called; raises `RuntimeError` after `close`."""
        with self._changed:
            if self._closed:
                raise RuntimeError("the pool is closed")
            self._waiting.append(_Task(client, priority, function))
            if len(self._threads) < min(self._size, len(self._waiting) + len(self._under_way)):
                thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Forget what waits, and wait for what is under way."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (task := self._next()) is not None:
            try:
                task.function()
            except Exception:  # noqa: BLE001 - the thread is everybody's
                _log.exception("a task failed")
            with self._changed:
                self._under_way.remove(task.client)

    def _next(self) -> _Task | None:
        """The next task, once there is one; None in the end."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            self._waiting.sort(key=lambda task: -task.priority)
            task = by_turns(self._waiting, lambda each: each.client, self._under_way)[0]
            self._waiting.remove(task)
            self._under_way.append(task.client)
            return task
