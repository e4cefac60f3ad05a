"""The door: takes calls, finds out where each belongs, and has a replica answer it; tries again where that died."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from ...errors import OverpaintError, RefusedError
from ..bodies import in_time, read_document
from ..guard import error_response
from ..refusals import error_document
from ..settings import Settings
from .calls import Call, Head
from .placement import Placement, placement_of, shape_of

Answer = Callable[[Call], AsyncGenerator[Head | bytes]]
"""Has a replica answer a call."""

TRIES = 4
"""How often a call that replicas refuse is sent to another one."""

FULL_SECONDS = 1.0
"""After which to try again where calls wait for all replicas."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failures:
    """The errors of a handle on replicas: it is full, or a replica is gone."""

    full: tuple[type[Exception], ...] = ()
    gone: tuple[type[Exception], ...] = ()


class Door:
    """An application that answers nothing itself.

    A call whose replica dies before it answers is sent to another one, once: what it had begun is gone with the
    replica, so that nothing is done twice. A call about a job of that replica ends with 410.
    """

    def __init__(self, settings: Settings, answer: Answer, failures: Failures) -> None:
        self._settings, self._answer, self._failures = settings, answer, failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a call; where the client goes away, so does the call on the replica."""
        request = Request(scope, receive)
        try:
            call = await self._call(request)
        except OverpaintError as exc:
            await error_response(exc, request.state.error_document)(scope, receive, send)
            return
        serving = asyncio.create_task(self._serve(call, request, send))
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait((serving, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not serving.done():
                serving.cancel()
        if not serving.cancelling():
            await serving

    async def _call(self, request: Request) -> Call:
        """The call with its body, and where it belongs."""
        scope = request.scope
        headers = MutableHeaders(raw=list(scope["headers"]))
        headers["x-request-id"] = request.state.request_id
        async with in_time(self._settings):
            body = await request.body()
        placement = placement_of(scope["path"], headers, _caller(request))
        if placement is None:
            placement = await self._shape(request) if request.method == "POST" else Placement()
        return Call(request.method, scope["path"], scope["query_string"], tuple(headers.raw), body, placement)

    async def _shape(self, request: Request) -> Placement:
        """By the body's document; what is none is refused by a replica, in its own words."""
        try:
            document = await read_document(request, self._settings, lambda name, text, depth: text)
            return await asyncio.to_thread(shape_of, document)
        except OverpaintError:
            return Placement()

    async def _serve(self, call: Call, request: Request, send: Send) -> None:
        try:
            head, pieces = await self._answered(call)
        except OverpaintError as exc:
            await error_response(exc, request.state.error_document)(request.scope, request.receive, send)
            return
        async with aclosing(pieces):
            await _passed_on(head, pieces, self._failures, send)

    async def _answered(self, call: Call) -> tuple[Head, AsyncGenerator[Head | bytes]]:
        """The head of an answer and what follows, from the first replica that takes the call.

        Raises `RefusedError` where none does.
        """
        died = False
        for left in reversed(range(TRIES)):
            pieces = self._answer(call)
            try:
                head = await anext(pieces)
            except self._failures.full as exc:
                raise RefusedError("all replicas are full; try again later", 503, "busy", FULL_SECONDS) from exc
            except self._failures.gone as exc:
                if call.placement.replica:
                    raise lost(call.placement.replica) from exc
                if died or not left:
                    message = "the replicas that began with this died; try again, or ask for less"
                    raise RefusedError(message, 503, "replica_lost", FULL_SECONDS) from exc
                _log.warning("a replica died; its call is sent to another")
                died = True
                continue
            assert isinstance(head, Head)
            if not left or call.placement.firm or not head.refuses or head.replica in call.avoided:
                return head, pieces
            await pieces.aclose()
            call = replace(call, avoided=call.avoided | {head.replica})
        raise AssertionError("the last try ends it")


async def _passed_on(head: Head, pieces: AsyncIterator[Head | bytes], failures: Failures, send: Send) -> None:
    """Send an answer as it comes. Of events the last one says that the replica died; other answers are cut then."""
    headers = [*head.headers, (b"x-replica", head.replica.encode())]
    await send({"type": "http.response.start", "status": head.status, "headers": headers})
    try:
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except failures.gone:
        if not head.header(b"content-type").startswith(b"text/event-stream"):
            raise
        document = json.dumps({"status": "failed", **error_document(lost(head.replica))})
        end = f"event: end\ndata: {document}\n\n".encode()
        await send({"type": "http.response.body", "body": end, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def lost(replica: str) -> RefusedError:
    """The error of a job whose replica is no more."""
    return RefusedError(f"the replica {replica} is gone, and this job with it; submit it again", 410, "replica_lost")


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _caller(request: Request) -> str:
    """Who calls: the hash of a key, or the address."""
    return request.state.owner or (request.client.host if request.client else "")
