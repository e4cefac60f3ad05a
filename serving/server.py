"""A process that serves: uvicorn, whose end by a signal waits for the jobs that are open."""

from __future__ import annotations

import socket
from types import FrameType

import uvicorn

from .app import create_app
from .logs import write_lines
from .service import Service
from .settings import Settings


class Server(uvicorn.Server):
    """Drains at the first signal and goes on answering meanwhile, so that results are fetched; a second one ends it."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Hear a signal."""
        if self._service.draining:
            super().handle_exit(sig, frame)
        else:
            self._service.begin_drain()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether it is over."""
        if self._service.drained or self._service.failure is not None:
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


def run(settings: Settings) -> None:
    """Serve until a signal; raises as `Service.load` does, and what kept the service from starting."""
    write_lines(settings.log)
    service = Service.load(settings)
    config = uvicorn.Config(
        create_app(service),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
    )
    Server(config, service).run()
    if service.failure is not None:
        raise service.failure
