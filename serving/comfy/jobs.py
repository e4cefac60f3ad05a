"""The page's list of jobs: /api/jobs."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ..documents import parse_json
from .desks import Desks
from .queue import Queue
from .submissions import CANCELLED, DONE, FAILED, PENDING, RUNNING, Submission

STATES = (PENDING, RUNNING, DONE, FAILED, CANCELLED)
ORDERS = ("created_at", "execution_duration")


class Jobs:
    """The routes of jobs, which are submissions by another name."""

    def __init__(self, desks: Desks) -> None:
        self._desks = desks

    def routes(self) -> Sequence[BaseRoute]:
        """The routes, which are there with /api alone."""
        return [
            Route("/api/jobs", self.listing),
            Route("/api/jobs/cancel", self.cancel_several, methods=["POST"]),
            Route("/api/jobs/{id}", self.one),
            Route("/api/jobs/{id}/cancel", self.cancel, methods=["POST"]),
        ]

    async def listing(self, request: Request) -> Response:
        """The jobs of some states, a page of them."""
        query = request.query_params
        states = [text.strip() for text in query.get("status", ",".join(STATES)).split(",") if text.strip()]
        order, direction = query.get("sort_by", ORDERS[0]), query.get("sort_order", "desc")
        limit, offset = query.get("limit"), query.get("offset", "0")
        if wrong := [state for state in states if state not in STATES]:
            return _refused(f"status is {wrong[0][:32]!r}; give {', '.join(STATES)}")
        if order not in ORDERS or direction not in ("asc", "desc"):
            return _refused(f"sort_by is one of {', '.join(ORDERS)}, sort_order asc or desc")
        if not offset[:9].isdecimal() or (limit is not None and (not limit.isdecimal() or int(limit[:9]) < 1)):
            return _refused("limit is a whole number from 1, offset one from 0")
        jobs = [each for each in self._desks.of(request).queue.all() if each.status in states]
        if (workflow := query.get("workflow_id")) is not None:
            jobs = [each for each in jobs if each.workflow_id == workflow]
        jobs.sort(key=_duration if order == ORDERS[1] else lambda each: each.created, reverse=direction == "desc")
        first = int(offset[:9])
        shown = jobs[first:] if limit is None else jobs[first : first + int(limit[:9])]
        pagination: dict[str, Any] = {
            "offset": first,
            "limit": None if limit is None else int(limit[:9]),
            "total": len(jobs),
            "has_more": first + len(shown) < len(jobs),
        }
        return JSONResponse({"jobs": [each.job() for each in shown], "pagination": pagination})

    async def one(self, request: Request) -> Response:
        """A job with its outputs and its workflow."""
        id = request.path_params["id"]
        submission = next((each for each in self._desks.of(request).queue.all() if each.id == id), None)
        if submission is None:
            return _refused("Job not found", 404)
        return JSONResponse(submission.job(details=True))

    async def cancel(self, request: Request) -> Response:
        """Cancel a job that waits or runs."""
        id = request.path_params["id"]
        if not _is_uuid(id):
            return _refused("this is no job's id")
        return JSONResponse({"cancelled": _cancelled(self._desks.of(request).queue, id)})

    async def cancel_several(self, request: Request) -> Response:
        """Cancel several."""
        ids = parse_json(await request.body(), 4).get("job_ids")
        if not isinstance(ids, list) or not all(isinstance(id, str) and _is_uuid(id) for id in ids):
            return _refused("job_ids is a list of jobs' ids")
        queue = self._desks.of(request).queue
        cancelled = [id for id in ids if _cancelled(queue, id)]
        return JSONResponse({"cancelled": bool(cancelled)})


def _cancelled(queue: Queue, id: str) -> bool:
    return bool(queue.drop([id])) or queue.interrupt(id)


def _duration(submission: Submission) -> int:
    return (submission.finished or 0) - (submission.started or 0) if submission.finished else 0


def _is_uuid(text: str) -> bool:
    try:
        return bool(uuid.UUID(text))
    except ValueError:
        return False


def _refused(cause: str, status: int = 400) -> Response:
    return JSONResponse({"error": cause}, status)
