"""The application: every interface on one service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ..errors import OverpaintError, RefusedError
from .a1111.errors import error_document as a1111_error
from .a1111.routes import PREFIXES, a1111
from .about import About
from .api import Api
from .guard import BASIC, Guard, error_response
from .metrics import Metrics
from .openai.errors import error_document
from .openai.routes import PREFIX, openai
from .page.routes import PUBLIC, page
from .refusals import ErrorDocument
from .service import Service
from .settings import Settings

Dialect = Callable[[Service], Sequence[BaseRoute]]
"""Gives the routes of an interface on a service."""

DIALECTS: tuple[Dialect, ...] = (a1111, openai)
"""The interfaces of other programs that are served beside the server's own."""

ERRORS: Mapping[str, ErrorDocument] = {PREFIX: error_document, **dict.fromkeys(PREFIXES, a1111_error)}
"""The shapes of their errors, by the beginning of their paths."""

_log = logging.getLogger(__name__)


def create_app(service: Service, dialects: Sequence[Dialect] = DIALECTS) -> Starlette:
    """The application of a loaded service. Its lifespan starts the service, drains it in the end, and closes it."""
    settings = service.settings
    metrics = Metrics(service) if settings.metrics else None
    others = [route for dialect in dialects for route in dialect(service)]
    routes = [*Api(service).routes(), *About(service, metrics, others).routes(), *others, *page(service)]
    middleware = guarded(settings, public=PUBLIC if settings.page else ())
    if settings.traces:
        from .traces import Traced, Traces

        service.watchers.append(Traces())
        middleware.insert(0, Middleware(Traced))
    handlers: dict[Any, Any] = {OverpaintError: failed, HTTPException: no_route, Exception: failed}

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        starting = asyncio.create_task(asyncio.to_thread(_start, service))
        yield
        await starting
        await asyncio.to_thread(service.drain)
        await asyncio.to_thread(service.close)

    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers, lifespan=lifespan)


def guarded(
    settings: Settings,
    shapes: Mapping[str, ErrorDocument] = ERRORS,
    public: Sequence[str] = (),
    basic: Sequence[str] = BASIC,
) -> list[Middleware]:
    """What every call goes through before an application has it; the options are `Guard`'s."""
    middleware = [Middleware(Guard, settings=settings, shapes=shapes, public=public, basic=basic)]
    if settings.origins:
        # Before the guard: a browser asks without a key whether it may send one.
        cors = Middleware(CORSMiddleware, allow_origins=settings.origins, allow_methods=["*"], allow_headers=["*"])
        middleware.insert(0, cors)
    return middleware


def _start(service: Service) -> None:
    try:
        service.start()
    except Exception as exc:  # noqa: BLE001 - the server ends with it
        _log.error("the service does not start: %s", exc)
        service.failure = exc


async def failed(request: Request, error: Exception) -> Response:
    """The answer for an error, in the shape of the interface that was called."""
    return error_response(error, request.state.error_document)


async def no_route(request: Request, error: HTTPException) -> Response:
    """The answer where there is no such path, or not with this method."""
    kind = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_input")
    message = f"{error.detail}; see /openapi.json"
    response = error_response(RefusedError(message, error.status_code, kind), request.state.error_document)
    response.headers.update(error.headers or {})
    return response
