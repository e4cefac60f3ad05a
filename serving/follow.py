"""Jobs followed in asyncio: for their events, and for their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from starlette.requests import Request

from .jobs import END, Job, Notice, Wish
from .made import Made

KEEP_ALIVE = 15.0
"""Seconds without news after which a sign of life is sent."""


async def follow(
    job: Job, previews: bool | Wish = False, keep_alive: float = KEEP_ALIVE
) -> AsyncGenerator[Notice | None]:
    """The notices of a job, to its end; None where there was none for a while.

    A reader that is slow gets the latest of each kind, so that nothing piles up.
    """
    loop, news, latest = asyncio.get_running_loop(), asyncio.Event(), dict[str, Notice]()

    def put(notice: Notice) -> None:
        latest.pop(notice.kind, None)
        latest[notice.kind] = notice
        news.set()

    def listener(notice: Notice) -> None:
        loop.call_soon_threadsafe(put, notice)

    leave = job.listen(listener, previews)
    try:
        while True:
            try:
                await asyncio.wait_for(news.wait(), keep_alive)
            except TimeoutError:
                yield None
                continue
            news.clear()
            notices = tuple(latest.values())
            latest.clear()
            for notice in notices:
                yield notice
                if notice.kind == END:
                    return
    finally:
        leave()


async def outcome(job: Job, request: Request, policy: str = "cancel") -> Made | None:
    """What came of a job; None where the client went away, for whom it is then cancelled, or kept by the policy.

    Raises what the job failed with.
    """
    ended = asyncio.wrap_future(job.future)
    gone: asyncio.Future[None] = asyncio.ensure_future(_gone(request))
    waited: set[asyncio.Future[Any]] = {ended, gone}
    try:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        return ended.result() if ended.done() else None
    finally:
        gone.cancel()
        if not ended.done():
            ended.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody asks for it any more
            if policy == "cancel":
                job.release()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
