"""Traces by OpenTelemetry: a span for each call, and for each job with its wait in line and its stages.

Only the interface is used. Whoever serves brings the SDK and says where spans go; without one nothing is recorded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..runtime.model.tickets import DECODING, DENOISING, ENCODING, FAILED
from ..version import __version__
from .jobs import Job
from .refusals import kind_of

STAGES = {ENCODING: "encode", DENOISING: "denoise", DECODING: "decode"}
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


class Traces:
    """A watcher that makes spans of jobs once they have ended, as children of the call that submitted them."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("overpaint", __version__)
        self._callers: dict[str, Context] = {}

    def submitted(self, job: Job) -> None:
        """A job was taken, in the context of its call."""
        self._callers[job.id] = context.get_current()

    def refused(self, kind: str) -> None:
        """The call whose context this is was refused."""
        trace.get_current_span().set_attribute("error.type", kind)

    def ended(self, job: Job) -> None:
        """A job has ended."""
        finished = job.finished or time.monotonic()
        attributes: dict[str, str | int] = {
            "overpaint.job": job.id,
            "overpaint.request": job.request,
            "overpaint.verb": job.order.verb,
            "overpaint.model": job.order.model,
            "overpaint.status": job.status,
            "overpaint.evaluations": job.done,
        }
        span = self._tracer.start_span(
            f"job {job.order.verb}",
            self._callers.pop(job.id, None),
            attributes=attributes,
            start_time=_nanoseconds(job.arrived),
        )
        if job.error is not None:
            span.set_attribute("error.type", kind_of(job.error))
            if job.status == FAILED:
                span.set_status(StatusCode.ERROR, str(job.error))
        inner = trace.set_span_in_context(span)
        self._part("queue", inner, job.arrived, job.started or finished)
        for ticket, stage, begin, end in _stages(job, finished):
            self._part(stage, inner, begin, end, {"overpaint.ticket": ticket})
        span.end(_nanoseconds(finished))

    def _part(self, name: str, inner: Context, begin: float, end: float, attributes: Any = None) -> None:
        span = self._tracer.start_span(name, inner, attributes=attributes, start_time=_nanoseconds(begin))
        span.end(_nanoseconds(end))


class Traced:
    """Middleware that makes a span of each call, in the trace of the caller where that brings a `traceparent`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._tracer = trace.get_tracer("overpaint", __version__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        caller = propagate.extract(dict(Headers(scope=scope)))
        attributes = {"http.request.method": method, "url.scheme": scope["scheme"], "url.path": scope["path"]}
        with self._tracer.start_as_current_span(method, caller, SpanKind.SERVER, attributes) as span:

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set_attribute("http.response.status_code", status)
                    if status >= 500:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            try:
                await self._app(scope, receive, sending)
            finally:
                span.set_attribute("overpaint.request", scope.get("state", {}).get("request_id", ""))
                if route := _route(scope):
                    span.set_attribute("http.route", route)
                    span.update_name(f"{method} {route}")


def _route(scope: Scope) -> str:
    """The path with the names of its parameters, "" where it is none of ours."""
    path: str = scope["path"]
    for name, value in scope.get("path_params", {}).items():
        before, _, after = path.rpartition(str(value))
        path = f"{before}{{{name}}}{after}"
    return path if "endpoint" in scope else ""


def _stages(job: Job, finished: float) -> Iterator[tuple[int, str, float, float]]:
    """Every ticket's stages: the ticket, the stage, and when it began and ended."""
    tickets: dict[int, list[tuple[str, float]]] = {}
    for ticket, status, when in job.marks:
        tickets.setdefault(ticket, []).append((status, when))
    for ticket, marks in tickets.items():
        ends = [*(when for _, when in marks[1:]), finished]
        for (status, begin), end in zip(marks, ends, strict=True):
            if status in STAGES:
                yield ticket, STAGES[status], begin, max(begin, end)


def _nanoseconds(when: float) -> int:
    """A time of `time.monotonic` as the clock has it."""
    return time.time_ns() - int((time.monotonic() - when) * 1e9)
