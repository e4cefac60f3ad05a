"""What each owner has: folders, a workbench, clients and a queue. Without API keys there is one owner."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import HTTPConnection

from ..pool import Pool
from ..service import Service
from .folders import Folders
from .queue import Queue, Runner
from .sockets import Sockets

Equip = Callable[[Folders], tuple[Any, Runner]]
"""Gives the workbench of some folders, and what runs workflows on it."""


@dataclass(frozen=True)
class Desk:
    """An owner's folders, workbench, clients and queue."""

    folders: Folders
    bench: Any
    sockets: Sockets
    queue: Queue


class Desks:
    """The desks by owner; each has a folder of its own where there are API keys."""

    def __init__(self, service: Service, equip: Equip) -> None:
        settings = service.settings
        self.service = service
        self._root, self._equip = Path(settings.comfy_dir), equip
        self._pool = Pool(settings.comfy_runs, "overpaint-workflow")
        self._desks: dict[str, Desk] = {}
        self._lock = threading.Lock()
        if not settings.api_keys:
            self.desk("")

    def of(self, connection: HTTPConnection) -> Desk:
        """The desk of who calls."""
        return self.desk(connection.scope.get("state", {}).get("owner", ""))

    def desk(self, owner: str) -> Desk:
        """The desk of an owner."""
        with self._lock:
            if owner not in self._desks:
                folders = Folders(self._root / owner if owner else self._root)
                bench, runner = self._equip(folders)
                sockets = Sockets()
                self._desks[owner] = Desk(folders, bench, sockets, Queue(self._pool, sockets, runner, owner))
            return self._desks[owner]

    def __len__(self) -> int:
        """How many workflows wait or run."""
        return sum(len(desk.queue) for desk in list(self._desks.values()))

    def cancel(self) -> None:
        """Cancel all that wait or run."""
        for desk in list(self._desks.values()):
            desk.queue.drop()
            desk.queue.interrupt()

    def close(self) -> None:
        """Cancel everything, wait for it to end, and let the clients go."""
        self.cancel()
        self._pool.close()
        for desk in self._desks.values():
            desk.sockets.close()
