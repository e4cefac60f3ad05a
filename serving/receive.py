"""A call becomes a job: its place in the queue, its body, its order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from starlette.requests import Request

from .bodies import FormValue, read_document
from .documents import Document
from .fetch import fetch_pictures
from .jobs import Job
from .orders import Order
from .place import Place
from .schemas import form_value
from .service import Service

Answer = TypeVar("Answer")


async def receive(
    service: Service,
    request: Request,
    read: Callable[[Document], tuple[Order, Answer]],
    value: FormValue = form_value,
) -> tuple[Job, Answer]:
    """The job of a call, and how it wants to be answered, both of which `read`, in a thread, makes of its document.

    Raises as `Service.place`, `read_document`, `read` and `Service.submit` do.
    """
    owner, id = request.state.owner, request.state.request_id
    key = request.headers.get("idempotency-key", "")
    # A call that is repeated needs no place, and is answered when all are taken.
    known = service.jobs.knows(owner, key)
    held: AbstractContextManager[Place | None] = nullcontext() if known else service.place(owner)
    with held as place:
        document = await fetch_pictures(await read_document(request, service.settings, value), service.settings)

        def submitted() -> tuple[Job, Answer]:
            order, answer = read(document)
            return service.submit(order, owner=owner, key=key, place=place, request=id), answer

        return await asyncio.to_thread(submitted)
