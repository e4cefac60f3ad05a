"""What every call goes through before it is looked at: keys, origins, the body's size, a request's id."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import OverpaintError, RefusedError
from .logs import line
from .refusals import ErrorDocument, error_document, status_of
from .settings import Settings

BASIC = ("/sdapi/", "/controlnet/")
"""How the paths begin whose callers bring their key by HTTP Basic."""

_log = logging.getLogger(__name__)


class Guard:
    """Lets a call through that brings a key, comes from no foreign web page, and whose body is not too large.

    Files below `public`, the same for everybody, are read without a key. It leaves `request_id`, `owner`, a hash of the
    key, and `error_document`, the shape of errors, in the scope's state, and logs each call in a line.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        shapes: Mapping[str, ErrorDocument],
        public: Sequence[str] = (),
        basic: Sequence[str] = BASIC,
    ) -> None:
        """`shapes` are those of errors by the beginning of a path; others have the server's own.

        Below `basic` a browser that has no key is told to ask for one.
        """
        self._app, self._settings, self._shapes, self._public = app, settings, shapes, public
        self._basic = tuple(basic)
        self._keys = [key.encode() for key in settings.api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a call."""
        if scope["type"] == "websocket":
            await self._open(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, start, status = Headers(scope=scope), time.perf_counter(), 0
        shape = next((each for path, each in self._shapes.items() if scope["path"].startswith(path)), error_document)
        id = _safe(headers.get("x-request-id", "")) or secrets.token_hex(8)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = id
            await send(message)

        try:
            state = scope.setdefault("state", {})
            state["request_id"], state["error_document"] = id, shape
            state["owner"] = "" if self._is_public(scope) else self._owner(headers)
            self._check_host(headers)
            self._check_origin(headers)
            self._check_length(headers)
        except RefusedError as exc:
            response = error_response(exc, shape)
            if response.status_code == 401 and scope["path"].startswith(self._basic):
                # Not elsewhere: a browser would ask for a name.
                response.headers["www-authenticate"] = 'Basic realm="overpaint"'
            await response(scope, receive, sending)
        else:
            await self._app(scope, _limited(receive, self._settings.max_body), sending)
        finally:
            seconds = round(time.perf_counter() - start, 4)
            method, path = scope["method"], _safe(scope["path"])
            line("call", {"request": id, "method": method, "path": path, "status": status, "seconds": seconds})

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a websocket: a refused one is closed before it opens, which is a status of 403."""
        headers, state = Headers(scope=scope), scope.setdefault("state", {})
        try:
            state["owner"] = self._owner(headers)
            self._check_host(headers)
            self._check_origin(headers)
        except RefusedError as exc:
            await send({"type": "websocket.close", "code": 1008, "reason": exc.kind})
        else:
            await self._app(scope, receive, send)

    def _owner(self, headers: Headers) -> str:
        """Who calls; raises `RefusedError` (401) for a key that is missing or wrong."""
        if not self._keys:
            return ""
        given = _key(headers).encode()
        # Every key is compared, so that the time tells nothing of which.
        if not sum(hmac.compare_digest(given, key) for key in self._keys):
            raise RefusedError(
                "bring a key: Authorization: Bearer KEY, X-API-Key: KEY, or HTTP Basic with the key as the password",
                401,
                "unauthorized",
            )
        return hashlib.sha256(given).hexdigest()[:16]

    def _is_public(self, scope: Scope) -> bool:
        """Whether it reads one of the public paths, or what lies below one that ends with a slash."""
        path = scope["path"]
        below = any(path.startswith(each) for each in self._public if len(each) > 1 and each.endswith("/"))
        return scope["method"] in ("GET", "HEAD") and (below or path in self._public)

    def _check_host(self, headers: Headers) -> None:
        """A web page may have its own name lead to this machine, and a browser then takes it for the same origin."""
        host = headers.get("host", "")
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if self._settings.names and name.lower() not in self._settings.names:
            raise RefusedError("this server is not called so; see the setting hosts", 421, "wrong_host")

    def _check_origin(self, headers: Headers) -> None:
        """A web page of another origin may have a browser send forms, whoever may read the answer."""
        origin = headers.get("origin")
        if origin is None or origin in self._settings.origins:
            return
        if origin.partition("://")[2] != headers.get("host"):
            raise RefusedError("pages of this origin may not call; see the setting origins", 403, "forbidden_origin")

    def _check_length(self, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self._settings.max_body:
            raise too_large(self._settings.max_body)


def _key(headers: Headers) -> str:
    """The key that a call brings, "" for none; of HTTP Basic it is the password, whatever the user's name."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip()
        case "basic":
            try:
                return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
            except ValueError:  # also of what is no UTF-8
                return ""
    return headers.get("x-api-key", "").strip()


def error_response(error: BaseException, document: ErrorDocument = error_document) -> Response:
    """An error as a client gets it, in the shape of an interface."""
    headers: dict[str, str] = {}
    if isinstance(error, RefusedError) and error.retry_after is not None:
        headers["retry-after"] = f"{error.retry_after:g}"
    status = status_of(error)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if not isinstance(error, OverpaintError):
        _log.error("a call failed", exc_info=error)
    return JSONResponse(document(error), status, headers)


def too_large(most: int) -> RefusedError:
    """The error of a body of more than so many bytes."""
    return RefusedError(f"the body has more than {most} bytes; send less, or smaller pictures", 413, "too_large")


def _limited(receive: Receive, most: int) -> Receive:
    """Receives a body of at most so many bytes; raises `RefusedError` (413) beyond."""
    received = 0

    async def receiving() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            raise too_large(most)
        return message

    return receiving


def _safe(text: Any) -> str:
    """A text for headers and logs: what is printable of it, at most 128 characters."""
    return "".join(each for each in str(text)[:128] if each.isprintable() and each.isascii())
