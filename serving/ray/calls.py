"""Calls of HTTP as plain values, so that an application in another process answers them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message

from .placement import Placement

_AHEAD = 8
"""Pieces of an answer that wait for their reader."""


@dataclass(frozen=True)
class Call:
    """A call with its body, where it belongs, and the replicas that have refused it."""

    method: str
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    placement: Placement
    avoided: frozenset[str] = frozenset()

    def scope(self) -> dict[str, Any]:
        """The call as ASGI has it."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query,
            "root_path": "",
            "headers": list(self.headers),
            "client": None,
            "server": None,
        }


@dataclass(frozen=True)
class Head:
    """The beginning of an answer, and the replica that gives it."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    replica: str

    def header(self, name: bytes) -> bytes:
        """The value of a header, by its lower-case name; empty where there is none."""
        return next((value for own, value in self.headers if own.lower() == name), b"")

    @property
    def refuses(self) -> bool:
        """Whether a replica has no room, or goes down: others may take the call."""
        return self.status == 429 or (self.status == 503 and bool(self.header(b"retry-after")))


async def answered(app: ASGIApp, call: Call, replica: str) -> AsyncGenerator[Head | bytes]:
    """An application's answer: its head, and then the pieces of its body.

    Where the reader goes away, the application hears of it, as of a client that does.
    """
    gone, sent, body = asyncio.Event(), asyncio.Queue[Message | None](_AHEAD), [call.body]

    async def receive() -> Message:
        if body:
            return {"type": "http.request", "body": body.pop(), "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if not gone.is_set():
            await sent.put(message)

    async def run() -> None:
        try:
            await app(call.scope(), receive, send)
        finally:
            if not gone.is_set():
                await sent.put(None)

    running = asyncio.create_task(run())
    try:
        while (message := await sent.get()) is not None:
            if message["type"] == "http.response.start":
                yield Head(message["status"], tuple(message.get("headers", ())), replica)
            elif message.get("body"):
                yield message["body"]
        await running
    finally:
        gone.set()
        while not sent.empty():  # who waits for room may go on
            sent.get_nowait()
