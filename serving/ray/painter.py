"""What a replica runs: a service of its own, and the application on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from ...errors import EngineError
from ..app import create_app
from ..guard import error_response
from ..logs import write_lines
from ..service import Service
from ..settings import Settings
from .calls import Call, Head, answered
from .door import lost
from .placement import SEPARATOR


class Painter:
    """A service that is loaded and warm once it is made; Ray Serve then sends it calls, and asks for its health.

    Its jobs' ids begin with its name.
    """

    def __init__(self, settings: Settings, name: str | None = None) -> None:
        """Raises as `Service.load`; without a name it is the one that Serve has for this replica."""
        write_lines(settings.log)
        self._name = _replica() if name is None else name
        self._service = Service.load(settings)
        self._service.prefix = f"{self._name}{SEPARATOR}"
        self._service.start()
        self._app = create_app(self._service)

    async def answer(self, call: Call) -> AsyncGenerator[Head | bytes]:
        """The head of an answer to a call, and then the pieces of its body."""
        foreign = call.placement.replica not in ("", self._name)
        app = error_response(lost(call.placement.replica)) if foreign else self._app
        async for piece in answered(app, call, self._name):
            yield piece

    def check_health(self) -> None:
        """Raise `EngineError` where jobs show no sign of work any more; Serve then replaces this replica."""
        if stalled := self._service.stalled():
            raise EngineError(f"jobs {', '.join(stalled)} show no sign of work; the engine hangs")

    async def close(self) -> None:
        """Take no more, wait for the jobs that are open as long as `drain_seconds`, and release the models."""
        await asyncio.to_thread(self._service.drain)
        await asyncio.to_thread(self._service.close)


def _replica() -> str:
    """Serve's name of this replica."""
    from ray import serve

    return str(serve.get_replica_context().replica_tag)
