"""Workflows that are sent, followed, looked up and cancelled."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from ...errors import RefusedError
from ...workflow.document import parse
from ...workflow.node import Nodes
from ...workflow.validate import InvalidWorkflowError, validate
from ..bodies import in_time
from ..documents import parse_json
from .desks import Desk, Desks
from .routing import both, empty
from .submissions import Submission

MAX_DEPTH = 64
"""Levels of the JSON of a workflow: the page sends its own form along."""


class Prompts:
    """The routes of workflows."""

    def __init__(self, desks: Desks, nodes: Nodes) -> None:
        self._desks, self._nodes = desks, nodes
        self._settings = desks.service.settings

    def routes(self) -> Sequence[BaseRoute]:
        """The routes."""
        return [
            *both("/prompt", self.submit, "POST"),
            *both("/prompt", self.remaining),
            *both("/queue", self.queue),
            *both("/queue", self.change_queue, "POST"),
            *both("/history", self.history),
            *both("/history", self.change_history, "POST"),
            *both("/history/{id}", self.one),
            *both("/interrupt", self.interrupt, "POST"),
            *both("/free", self.free, "POST"),
            WebSocketRoute("/ws", self.listen),
            WebSocketRoute("/api/ws", self.listen),
        ]

    async def submit(self, request: Request) -> Response:
        """Check a workflow, and have it run."""
        document = await self._document(request)
        desk, service = self._desks.of(request), self._desks.service
        if service.draining or not service.ready:
            raise RefusedError("the server is starting or going down; try again", 503, "starting")
        if len(self._desks) >= self._settings.queue_limit:
            raise RefusedError(f"{self._settings.queue_limit} workflows wait or run; try again later", 429, "busy")
        if not document.get("prompt"):
            raise InvalidWorkflowError("no_prompt", "No prompt provided", "No prompt provided")
        id = _id(document.get("prompt_id"), desk)
        submission, errors = await asyncio.to_thread(self._checked, document, id, desk)
        desk.queue.add(submission)
        return JSONResponse({"prompt_id": id, "number": submission.number, "node_errors": errors})

    async def remaining(self, request: Request) -> Response:
        """How many wait or run."""
        return JSONResponse(self._desks.of(request).queue.status())

    async def queue(self, request: Request) -> Response:
        """Those that wait and those that run."""
        return JSONResponse(self._desks.of(request).queue.rows())

    async def change_queue(self, request: Request) -> Response:
        """Take some, or all, that wait out of the queue."""
        queue = self._desks.of(request).queue
        _change(await self._document(request), queue.drop)
        return empty()

    async def history(self, request: Request) -> Response:
        """Those that have ended: the last of them with max_items, from an offset."""
        entries = self._desks.of(request).queue.history()
        query = request.query_params
        most, offset = _whole(query.get("max_items")), _whole(query.get("offset"))
        if most is not None:
            start = len(entries) - most if offset is None else offset
            entries = entries[max(0, start) : max(0, start) + most]
        return JSONResponse({each.id: each.entry() for each in entries})

    async def one(self, request: Request) -> Response:
        """One that has ended, nothing where it has not."""
        entries = self._desks.of(request).queue.history(request.path_params["id"])
        return JSONResponse({each.id: each.entry() for each in entries})

    async def change_history(self, request: Request) -> Response:
        """Forget some that have ended, or all."""
        queue = self._desks.of(request).queue
        _change(await self._document(request), queue.forget)
        return empty()

    async def interrupt(self, request: Request) -> Response:
        """Cancel what runs; with prompt_id that alone."""
        document = await self._document(request)
        id = document.get("prompt_id")
        self._desks.of(request).queue.interrupt(id if isinstance(id, str) else None)
        return empty()

    async def free(self, request: Request) -> Response:
        """Forget what nodes gave; the models stay, as others use them."""
        document = await self._document(request)
        if document.get("free_memory"):
            self._desks.of(request).bench.results.clear()
        return empty()

    async def listen(self, socket: WebSocket) -> None:
        """Send a client what happens."""
        desk = self._desks.of(socket)

        def greet(id: str, send: Callable[[str, Any], None]) -> None:
            send("status", {"status": desk.queue.status(), "sid": id})
            for submission in desk.queue.running_of(id):
                node = submission.current
                if node is not None:
                    send("executing", {"node": node, "display_node": node, "prompt_id": submission.id})

        await desk.sockets.serve(socket, greet)

    def _checked(self, document: Mapping[str, Any], id: str, desk: Desk) -> tuple[Submission, dict[str, Any]]:
        """A submission of what can run, and the errors of what cannot; raises `InvalidWorkflowError`."""
        extra = document.get("extra_data")
        extra = dict(extra) if isinstance(extra, Mapping) else {}
        page = extra.get("extra_pnginfo")
        editor = page.get("workflow") if isinstance(page, Mapping) else None
        workflow = parse(document["prompt"], editor if isinstance(editor, Mapping) else None)
        targets = document.get("partial_execution_targets")
        report = validate(workflow, self._nodes, desk.bench, map(str, targets) if isinstance(targets, list) else None)
        client = document.get("client_id")
        return (
            Submission(
                id,
                _number(document, desk.queue.number()),
                client if isinstance(client, str) else "",
                workflow,
                report.runnable,
                _public(extra),
            ),
            report.node_errors(workflow),
        )

    async def _document(self, request: Request) -> dict[str, Any]:
        """The JSON of a body, whatever kind the client says it is; an empty one is an empty object."""
        async with in_time(self._settings):
            body = await request.body()
        return await asyncio.to_thread(parse_json, body, MAX_DEPTH) if body.strip() else {}


def _public(extra: dict[str, Any]) -> dict[str, Any]:
    """What the client sent along, without its secrets, which no history shows."""
    return {name: value for name, value in extra.items() if not name.startswith(("auth_token_", "api_key_"))}


def _id(text: Any, desk: Desk) -> str:
    if text is None:
        return str(uuid.uuid4())
    try:
        canonical = isinstance(text, str) and str(uuid.UUID(text)) == text
    except ValueError:
        canonical = False
    if not canonical or desk.queue.known(text):
        message = "prompt_id must be a new UUID, in lower case"
        raise InvalidWorkflowError("invalid_prompt_id", message, json.dumps(text)[:64])
    return str(text)


def _number(document: Mapping[str, Any], count: int) -> float:
    number = document.get("number")
    if isinstance(number, int | float) and not isinstance(number, bool):
        return number
    return -count if document.get("front") else count


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 10 else None


def _change(document: Mapping[str, Any], remove: Callable[..., Any]) -> None:
    if document.get("clear"):
        remove()
    if isinstance(ids := document.get("delete"), list):
        remove([id for id in ids if isinstance(id, str)])
