"""A process that serves: uvicorn, whose end by a signal waits for the jobs that are open."""

from __future__ import annotations

import os
import socket
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from .app import create_app
from .logs import write_lines
from .service import Service
from .settings import Settings
from .supervisor import Inherited
from .watchdog import Watchdog

if TYPE_CHECKING:
    from .comfy.beside import Beside

ANSWERS_SECONDS = 10.0
"""For how many seconds after the last job answers are still sent."""

KEEP_ALIVE_SECONDS = 75
"""For how long an idle connection is kept: longer than proxies do, so that none sends into one that just closed."""


class Server(uvicorn.Server):
    """Drains at the first signal and goes on answering meanwhile, so that results are fetched; a second one ends it.

    It also drains where its supervisor is gone.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        supervisor: Inherited | None = None,
        beside: Beside | None = None,
    ) -> None:
        super().__init__(config)
        self._beside = beside
        self._service = service
        self._supervisor = supervisor
        self._watchdog = Watchdog(service, supervisor.ready if supervisor else None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Hear a signal."""
        if self._service.draining:
            super().handle_exit(sig, frame)
        else:
            self._service.begin_drain()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether it is over."""
        if counter % 10 == 0:
            self._watchdog.look()
            if self._supervisor and self._supervisor.orphaned():
                self._service.begin_drain()
        if self._watchdog.given_up:
            return False  # closing would wait for what does not come
        if (self._service.drained and not self._workflows_open()) or self._service.failure is not None:
            self.should_exit = True
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        for server in self.servers:
            for each in server.sockets:
                host, port = each.getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                print(f"serving {', '.join(self._service.models)} at http://{shown}:{port}", flush=True)
        if self._beside is not None and self.servers:
            print(f"serving ComfyUI's interface at {await self._beside.start()}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and close the service."""
        self._watchdog.close()
        if self._beside is not None:
            await self._beside.close()
        await super().shutdown(sockets)

    def _workflows_open(self) -> bool:
        """Whether workflows are open, which have as long as jobs to end."""
        if self._beside is None or not self._beside.busy:
            return False
        if self._service.drain_is_late:
            self._beside.cancel()
        return True


def run(settings: Settings) -> None:
    """Serve until a signal, at the settings' address, or where a supervisor listens.

    Raises as `Service.load` does, and what kept the service from starting.
    """
    write_lines(settings.log)
    supervisor = Inherited.of(os.environ)
    service = Service.load(settings)
    config = uvicorn.Config(
        create_app(service),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(min(settings.drain_seconds, ANSWERS_SECONDS))),
    )
    beside = None
    if settings.comfy_port is not None:
        from .comfy.beside import Beside

        beside = Beside(service, config)
    Server(config, service, supervisor, beside).run([supervisor.listener] if supervisor else None)
    if service.failure is not None:
        raise service.failure
