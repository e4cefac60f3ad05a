"""ComfyUI's interface beside the server: its own port, in the same event loop, on the same models."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from ...errors import InputError
from ..service import Service
from .app import ComfyApp

MAX_MESSAGE = 2**20
"""Bytes of a message that a client may send: it sends none but what it reads."""


class Beside:
    """A second server; it starts and ends with the first, which alone hears signals."""

    def __init__(self, service: Service, base: uvicorn.Config) -> None:
        """`base` is the first one's configuration. Raises `InputError` where the port is taken."""
        self.app = ComfyApp(service)
        self._host, self._port = base.host, service.settings.comfy_port or 0
        self._base, self._service = base, service
        self._socket = self._listener()
        self._server: _Quiet | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether workflows wait or run."""
        return self.app.busy

    def cancel(self) -> None:
        """Cancel all workflows."""
        self.app.desks.cancel()

    async def start(self) -> str:
        """Begin to serve; gives the address."""
        base = self._base
        config = uvicorn.Config(
            self.app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            ws_max_size=MAX_MESSAGE,
            timeout_keep_alive=base.timeout_keep_alive,
            timeout_graceful_shutdown=base.timeout_graceful_shutdown,
        )
        self._server = _Quiet(config)
        self._task = asyncio.create_task(self._server.serve([self._socket]))
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def close(self) -> None:
        """Cancel all workflows, and let the clients go."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
        self._socket.close()

    def _listener(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            return socket.create_server((self._host, self._port), family=family, backlog=self._base.backlog)
        except OSError as exc:
            cause = f"comfy_port: {self._host}:{self._port} cannot be listened at ({exc.strerror}); give another"
            raise InputError(cause, "comfy_port") from exc


class _Quiet(uvicorn.Server):
    """Leaves signals to the first server."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
