"""The server's own interface: /v1/jobs."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from io import BytesIO
from typing import Any

from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from ..errors import InputError, RefusedError
from ..runtime.model.tickets import ENDED
from .follow import follow, outcome
from .jobs import Job, Notice
from .made import MEDIA_TYPES, Made, MadePicture
from .receive import receive
from .refusals import RETRY_RESULT
from .schemas import order_of
from .service import Service

CLIENT_GONE = 499
"""The status, nginx's, of an answer that nobody gets."""


class Api:
    """Jobs of a service, submitted, looked at, followed, fetched and cancelled."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> Sequence[BaseRoute]:
        """The routes."""
        return (
            Route("/v1/jobs", self.submit, methods=["POST"]),
            Route("/v1/jobs/{id}", self.status, methods=["GET"]),
            Route("/v1/jobs/{id}", self.cancel, methods=["DELETE"]),
            Route("/v1/jobs/{id}/events", self.events, methods=["GET"]),
            Route("/v1/jobs/{id}/result", self.result, methods=["GET"]),
        )

    async def submit(self, request: Request) -> Response:
        """Submit a job; with ?wait=true answer with its result."""
        settings, waits = self._service.settings, flag(request, "wait")
        job, _ = await receive(self._service, request, lambda document: (order_of(document, settings), None))
        if not waits:
            return JSONResponse(job.document(), 202, {"location": f"/v1/jobs/{job.id}"})
        made = await outcome(job, request, settings.on_disconnect)
        if made is None:
            return Response(status_code=CLIENT_GONE)
        return await self._answer(request, job, made)

    async def status(self, request: Request) -> Response:
        """How a job goes."""
        return JSONResponse(self._job(request).document())

    async def cancel(self, request: Request) -> Response:
        """Cancel a job, for this client: where others share it, it goes on for them."""
        job = self._job(request)
        if job.order.share:
            job.release()
        else:
            job.cancel()
        return JSONResponse(job.document())

    async def events(self, request: Request) -> Response:
        """A job's events as they come, with previews unless ?previews=false."""
        stream = _stream(self._job(request), flag(request, "previews", True))
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(stream, headers=headers, media_type="text/event-stream")

    async def result(self, request: Request) -> Response:
        """What came of a job: a picture, or JSON."""
        job = self._job(request)
        if job.status not in ENDED:
            raise RefusedError(
                f"the job is {job.status}; its events tell when it is done", 409, "not_done", RETRY_RESULT
            )
        return await self._answer(request, job, job.future.result())

    def _job(self, request: Request) -> Job:
        return self._service.jobs.get(request.path_params["id"], request.state.owner)

    async def _answer(self, request: Request, job: Job, made: Made) -> Response:
        """The picture of an index, in the format that is asked for; or all of them, in JSON."""
        kind = request.query_params.get("format") or _accepted(request, job, made)
        if kind == "json":
            content = await asyncio.to_thread(_as_json, job, made)
            answer: Response = Response(content, media_type="application/json")
        elif kind in MEDIA_TYPES:
            picture = _chosen(made, request.query_params.get("index", "0"))
            data = await asyncio.to_thread(_encoded, picture, job, kind)
            answer = Response(data, media_type=MEDIA_TYPES[kind], headers={"x-job-id": job.id})
        else:
            raise InputError(f"format is {kind[:64]!r}; give json, {', '.join(MEDIA_TYPES)}", "format")
        job.collected = True
        return answer


def flag(request: Request, name: str, default: bool = False) -> bool:
    """A query's parameter that is true or false; raises `InputError` for another value."""
    text = request.query_params.get(name, str(default)).lower()
    if text not in ("true", "false", "1", "0", ""):
        raise InputError(f"{name} is {text[:64]!r}; give true or false", name)
    return text in ("true", "1")


def _accepted(request: Request, job: Job, made: Made) -> str:
    """What is answered where the query does not say it: what is accepted, else the picture where there is one."""
    accepted = request.headers.get("accept", "")
    for kind, media in MEDIA_TYPES.items():
        if media in accepted:
            return kind
    if "application/json" in accepted or len(made.pictures) != 1:
        return "json"
    return job.order.kind


def _chosen(made: Made, index: str) -> MadePicture:
    if not index.isdecimal() or int(index[:9]) >= len(made.pictures):
        raise InputError(f"index is {index[:16]!r}; the job made {len(made.pictures)}, counted from 0", "index")
    return made.pictures[int(index)]


def _encoded(picture: MadePicture, job: Job, kind: str) -> bytes:
    return picture.encoded(kind, quality=job.order.quality, strip=job.order.strip)


def _as_json(job: Job, made: Made) -> bytes:
    kind = job.order.kind
    document: dict[str, Any] = job.document()
    for said, picture in zip(document["result"]["pictures"], made.pictures, strict=True):
        said |= {"media_type": MEDIA_TYPES[kind], "data": base64.b64encode(_encoded(picture, job, kind)).decode()}
    return json.dumps(document).encode()


async def _stream(job: Job, previews: bool) -> AsyncGenerator[str]:
    async with aclosing(follow(job, previews)) as notices:
        async for notice in notices:
            if notice is None:
                yield ": still there\n\n"
            elif notice.image is None:
                yield _event(notice)
            else:
                yield await asyncio.to_thread(_event, notice)


def _event(notice: Notice) -> str:
    """A notice as server-sent events have it; a preview is a data URL."""
    data = dict(notice.data)
    if notice.image is not None:
        data["data"] = data_url(notice.image)
    return f"event: {notice.kind}\ndata: {json.dumps(data)}\n\n"


def data_url(image: Image.Image) -> str:
    """A preview as a data URL of a JPEG, or of a PNG where it has alpha."""
    kind, stream = ("PNG" if image.mode == "RGBA" else "JPEG"), BytesIO()
    image.save(stream, kind, quality=85)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
