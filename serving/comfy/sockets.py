"""The websockets of clients, by the ids that they choose."""

from __future__ import annotations

import asyncio
import json
import secrets
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from starlette.websockets import WebSocket, WebSocketDisconnect

from .previews import as_jpeg

PICTURE, PICTURE_WITH_METADATA = 1, 4
"""The kinds of binary messages."""
JPEG, PNG = 1, 2
MEDIA = {JPEG: "image/jpeg", PNG: "image/png"}
MOST_WAITING, MOST_PREVIEWS = 4096, 4
"""Messages that wait for a client until it is let go, and previews until it gets no more of them."""

Message = str | bytes


@dataclass(eq=False)
class Client:
    """A websocket: the messages that wait for it, and what its client says that it reads."""

    loop: asyncio.AbstractEventLoop
    waiting: asyncio.Queue[tuple[Message | None, bool]] = field(default_factory=asyncio.Queue)
    features: dict[str, Any] | None = None
    previews: int = 0

    def put(self, message: Message, *, preview: bool = False) -> None:
        """Send a message when its turn comes; from any thread."""
        with suppress(RuntimeError):  # the loop has ended
            self.loop.call_soon_threadsafe(self._put, message, preview)

    async def next(self) -> Message | None:
        """The next message, None in the end."""
        message, preview = await self.waiting.get()
        self.previews -= preview
        return message

    def framed(self, data: bytes, kind: int, place: dict[str, Any]) -> bytes:
        """The file of a picture of a node as a message, in the newer form where the client reads that."""
        if self.features is None or not self.features.get("supports_preview_metadata"):
            return struct.pack(">II", PICTURE, kind) + data
        about = json.dumps({**place, "image_type": MEDIA[kind]}).encode()
        return struct.pack(">II", PICTURE_WITH_METADATA, len(about)) + about + data

    def close(self) -> None:
        """End it after what waits."""
        self.waiting.put_nowait((None, False))

    def _put(self, message: Message, preview: bool) -> None:
        if self.waiting.qsize() >= MOST_WAITING:
            self.close()
        elif not preview or self.previews < MOST_PREVIEWS:
            self.previews += preview
            self.waiting.put_nowait((message, preview))


class Sockets:
    """The clients that listen; `send` and `preview` may be called from any thread."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}

    async def serve(self, socket: WebSocket, greet: Callable[[str, Callable[[str, Any], None]], None]) -> None:
        """Serve a websocket until it ends. `greet` gets the client's id, and what sends it a message."""
        await socket.accept()
        id = socket.query_params.get("clientId") or secrets.token_hex(16)
        client = Client(asyncio.get_running_loop())
        if (other := self._clients.pop(id, None)) is not None:
            other.close()
        self._clients[id] = client
        greet(id, lambda kind, data: client.put(_text(kind, data)))
        sending = asyncio.create_task(_send(socket, client))
        try:
            await self._receive(socket, client)
        finally:
            if self._clients.get(id) is client:
                del self._clients[id]
            client.close()
            sending.cancel()

    def close(self) -> None:
        """End all of them."""
        for client in list(self._clients.values()):
            client.close()

    def send(self, kind: str, data: Any, id: str | None = None) -> None:
        """Send a message to a client, or to all."""
        text = _text(kind, data)
        for client in self._chosen(id):
            client.put(text)

    def wants_previews(self, id: str) -> bool:
        """Whether a client reads previews: others take every binary message for a result."""
        client = self._clients.get(id)
        return client is not None and client.features is not None

    def preview(self, image: Image.Image, place: dict[str, Any], id: str) -> None:
        """Send a preview of a node to a client that reads them."""
        client = self._clients.get(id)
        if client is not None and client.features is not None:
            client.put(client.framed(as_jpeg(image), JPEG, place), preview=True)

    def picture(self, data: bytes, place: dict[str, Any], id: str) -> None:
        """Send a client the file of a whole picture, a PNG."""
        if (client := self._clients.get(id)) is not None:
            client.put(client.framed(data, PNG, place))

    def _chosen(self, id: str | None) -> list[Client]:
        if id is None:
            return list(self._clients.values())
        return [self._clients[id]] if id in self._clients else []

    async def _receive(self, socket: WebSocket, client: Client) -> None:
        with suppress(WebSocketDisconnect):
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                document = _read(message.get("text") or "")
                if document.get("type") == "feature_flags" and isinstance(document.get("data"), dict):
                    client.features = document["data"]
                    client.put(_text("feature_flags", FEATURES))


FEATURES = {"supports_preview_metadata": True, "max_upload_size": 104857600}


async def _send(socket: WebSocket, client: Client) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):
        while (message := await client.next()) is not None:
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                await socket.send_text(message)
        await socket.close()


def _text(kind: str, data: Any) -> str:
    return json.dumps({"type": kind, "data": data}, default=str)


def _read(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
