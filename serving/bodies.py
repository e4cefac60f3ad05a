"""The bodies of calls: JSON, or a form with files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from ..errors import InputError, RefusedError
from .documents import Document, parse_json
from .schemas import form_value
from .settings import Settings

JSON, FORM, PLAIN_FORM = "application/json", "multipart/form-data", "application/x-www-form-urlencoded"

FormValue = Callable[[str, str, int], Any]
"""Gives the value of a form's field of a name and a text; lists and objects have at most so many levels."""


async def read_document(request: Request, settings: Settings, value: FormValue = form_value) -> Document:
    """The document that a call brings: its JSON, or the fields of its form, where files are bytes.

    A form's field of several values, or named with "[]", is a list. Raises `InputError` for what is no document, and
    `RefusedError`, 415 for another kind of body and 408 for one that is too slow to come.
    """
    async with in_time(settings):
        return await _read(request, settings, value)


@asynccontextmanager
async def in_time(settings: Settings) -> AsyncIterator[None]:
    """While it lasts, a body is read; raises `RefusedError` (408) where that takes too long."""
    try:
        async with asyncio.timeout(settings.body_seconds):
            yield
    except TimeoutError:
        message = f"the body did not come within {settings.body_seconds:g} seconds; send it faster"
        raise RefusedError(message, 408, "slow_body") from None


async def _read(request: Request, settings: Settings, value: FormValue) -> Document:
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if kind in (FORM, PLAIN_FORM):
        return await _form(request, settings, value)
    if kind != JSON:
        raise RefusedError(f"a body of {kind[:64]!r} is not read; send {JSON} or {FORM}", 415, "unsupported_media")
    return await asyncio.to_thread(parse_json, await request.body(), settings.max_depth)


async def _form(request: Request, settings: Settings, value: FormValue) -> Document:
    form = await read_form(request, settings)
    made: Document = {}
    try:
        for name in form:
            own, listed = name.removesuffix("[]"), name.endswith("[]")
            values = [
                await each.read() if isinstance(each, UploadFile) else value(own, each, settings.max_depth)
                for each in form.getlist(name)
            ]
            if own in made:
                raise InputError(f"{own} is given twice, also as {name!r}; give it once", own)
            made[own] = values if listed or len(values) > 1 else values[0]
    finally:
        await form.close()
    return made


async def read_form(request: Request, settings: Settings) -> FormData:
    """The fields of a form; raises `InputError` for what is none.

    Files stay in memory, where the body's limit bounds them: a full disk fails no call.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == PLAIN_FORM:
        return await request.form()
    parser = MultiPartParser(
        request.headers, request.stream(), max_files=settings.max_images, max_part_size=settings.max_body
    )
    parser.spool_max_size = settings.max_body
    try:
        return await parser.parse()
    except MultiPartException as exc:
        raise InputError(f"the form cannot be read ({exc.message}); correct it") from None
