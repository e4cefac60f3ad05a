"""The calls of OpenAI's images API."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from ...runtime.model.tickets import ENDED
from ..api import CLIENT_GONE
from ..follow import outcome
from ..jobs import Job
from ..receive import receive
from ..service import Service
from .answers import document, events
from .fields import EDIT, GENERATION, VARIATION, form_value
from .wish import Answer, read

PREFIX = "/v1/images/"


def openai(service: Service) -> Sequence[BaseRoute]:
    """The routes on a service."""
    calls = OpenAI(service)
    return (
        Route(f"{PREFIX}edits", calls.edits, methods=["POST"]),
        Route(f"{PREFIX}generations", calls.generations, methods=["POST"]),
        Route(f"{PREFIX}variations", calls.variations, methods=["POST"]),
    )


class OpenAI:
    """Edits, generations and variations: each is a job that is waited for, or streamed."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def edits(self, request: Request) -> Response:
        """Edit a picture, as OpenAI's clients have it; under a mask only where that is transparent."""
        return await self._answer(request, EDIT)

    async def generations(self, request: Request) -> Response:
        """Paint a picture from a prompt alone, as OpenAI's clients have it."""
        return await self._answer(request, GENERATION)

    async def variations(self, request: Request) -> Response:
        """Paint a picture again without a prompt, as OpenAI's clients have it."""
        return await self._answer(request, VARIATION)

    async def _answer(self, request: Request, kind: str) -> Response:
        service = self._service
        job, answer = await receive(service, request, lambda sent: read(sent, kind, service), form_value)
        if answer.stream:
            return Stream(job, answer, service.settings.on_disconnect)
        made = await outcome(job, request, service.settings.on_disconnect)
        if made is None:
            return Response(status_code=CLIENT_GONE)
        content = await asyncio.to_thread(document, job, made, answer, str(request.base_url))
        job.collected = not answer.url
        return Response(content, media_type="application/json", headers={"x-job-id": job.id})


class Stream(StreamingResponse):
    """A job's stream; it is cancelled when the client goes away, unless the policy keeps it."""

    def __init__(self, job: Job, answer: Answer, policy: str) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no", "x-job-id": job.id}
        super().__init__(events(job, answer), headers=headers, media_type="text/event-stream")
        self._job, self._policy = job, policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._job.status not in ENDED and self._policy == "cancel":
                self._job.release()
