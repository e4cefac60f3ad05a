"""The routes of the page: files that are the same for everybody, so that they want no key."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..service import Service
from .files import PageFile, page_files

PUBLIC = ("/", "/page/")
"""Paths that are read without a key: a browser has none before the page is there to ask for it."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""What a browser lets the page do: load and call this server alone, run no script but its files, sit in no frame."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-cache",
    "vary": "accept-encoding",
}


def page(service: Service) -> Sequence[BaseRoute]:
    """The routes, none where the setting `page` is false."""
    if not service.settings.page:
        return ()
    return (Route("/", _index, name="page"), Route("/page/{path:path}", _file, name="page_file"))


async def _index(request: Request) -> Response:
    return _answer(request, page_files()["index.html"])


async def _file(request: Request) -> Response:
    file = page_files().get(request.path_params["path"])
    if file is None:
        raise HTTPException(404, "the page has no such file")
    return _answer(request, file)


def _answer(request: Request, file: PageFile) -> Response:
    """The file, or 304 where the browser has it."""
    headers = {**HEADERS, "etag": file.tag}
    known = request.headers.get("if-none-match", "")
    if known == "*" or file.tag in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
        return Response(status_code=304, headers=headers)
    data = file.data
    if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        data = file.packed
        headers["content-encoding"] = "gzip"
    return Response(data, headers=headers, media_type=file.kind)
