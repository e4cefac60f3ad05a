"""ComfyUI's paths, which are there with /api before them and without."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

Endpoint = Callable[[Request], Awaitable[Response]]


def both(path: str, endpoint: Endpoint, method: str = "GET") -> Sequence[BaseRoute]:
    """The two routes of a path."""
    return [Route(f"{prefix}{path}", endpoint, methods=[method]) for prefix in ("", "/api")]


def empty(status: int = 200) -> Response:
    """An answer that says nothing but that it was done."""
    return Response(status_code=status)
