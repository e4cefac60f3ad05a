"""What HTTP adds to a request beyond the runtime, and what listeners of a job that waits cost."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from statistics import median

import httpx
import numpy as np

import overpaint as runtime
from benchmarks.report import publish, table
from overpaint.runtime.model.scheduler import MAX_ACTIVE
from overpaint.serving.made import MadePicture

from .client import Server, calls, overpaint
from .sections import busy

STEPS, SIZE = 10, 64
LONG = 1000
"""Steps of the jobs that keep one waiting."""
SETTLE = 3.0
"""Seconds after which memory is read."""


def publish_overhead(pairs: int, listeners: int, write: bool) -> None:
    """Publish both."""
    server = overpaint("tiny", engine="openvino")
    try:
        rows, added = _pairs(server, pairs)
        before, after = asyncio.run(_listening(server, listeners))
    finally:
        server.close()
    low, high = np.quantile(added, (0.25, 0.75)) * 1e3
    body = (
        f"A picture of tiny on OpenVINO, {SIZE} x {SIZE} pixels, {STEPS} steps with guidance, from the bytes of a PNG "
        f"to those of another, by `overpaint serve` over a connection that stays open and by the runtime in the "
        f"client's process; {pairs} pairs in turn, after 10.\n\n"
        + table(("way", "median, ms", "p95, ms"), rows)
        + f"\n\nThe server adds {median(added) * 1e3:.2f} ms, the median of the pairs' differences; half of them are "
        f"from {low:.2f} to {high:.2f}.\n\n{listeners} idle listeners of the events of a job that waits, each with a "
        f"connection of its own: the server's memory is {before:.0f} MB before and {after:.0f} MB with them, "
        f"{after - before:.0f} MB more ({(after - before) / listeners * 1e3:.0f} kB each).\n\n{busy().capitalize()}."
    )
    title = "What the server adds, and what listeners cost"
    publish("serving", "serving-server", title, body, "openvino", "starlette", "uvicorn", write=write)


def _pairs(server: Server, pairs: int) -> tuple[list[list[str]], list[float]]:
    """Rows on both ways, and the seconds that HTTP added in each pair."""
    took: list[list[float]] = [[], []]
    with runtime.load("tiny", engine="openvino") as pipe, httpx.Client(base_url=server.url, timeout=60) as client:

        def over_http(index: int) -> None:
            call = made[index]
            files = {"image": ("a.png", call.image, "image/png")}
            client.post("/v1/jobs?wait=true", data=call.fields, files=files).raise_for_status()

        def alone(index: int) -> None:
            call = made[index]
            result = pipe(call.image, call.fields["prompt"], seed=int(call.fields["seed"]), **options)
            MadePicture.of(result.outputs[0]).encoded("png")

        options = {"steps": STEPS, "strength": 1.0, "guidance_scale": 7.0, "convention": "diffusers"}
        made = calls(pairs + 10, SIZE, (STEPS, STEPS), 7.0, 5)
        for call in made:
            call.fields.update({"steps": str(STEPS), "strength": "1.0"})
        for index in range(pairs + 10):
            for way in (0, 1)[:: -1 if index % 2 else 1]:
                start = time.perf_counter()
                (over_http, alone)[way](index)
                took[way].append(time.perf_counter() - start)
    took = [each[10:] for each in took]
    rows = [
        [name, *(f"{np.quantile(each, share) * 1e3:.1f}" for share in (0.5, 0.95))]
        for name, each in zip(("over HTTP", "the runtime alone"), took, strict=True)
    ]
    return rows, [one - other for one, other in zip(*took, strict=True)]


async def _listening(server: Server, listeners: int) -> tuple[float, float]:
    """Megabytes of the server before and with listeners of a job that waits."""
    limits = httpx.Limits(max_connections=None)
    call = calls(1, SIZE, (1, 1), 7.0, 6)[0]
    fields = {**call.fields, "steps": str(LONG), "strength": "1.0"}
    async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:
        ids = []
        for _ in range(MAX_ACTIVE + 1):
            files = {"image": ("a.png", call.image, "image/png")}
            answer = await client.post("/v1/jobs", data=fields, files=files)
            ids.append(answer.raise_for_status().json()["id"])
        await asyncio.sleep(SETTLE)
        before = server.memory
        async with AsyncExitStack() as stack:
            heard = []  # an iterator that nobody holds closes its connection
            for _ in range(listeners):
                answer = await stack.enter_async_context(client.stream("GET", f"/v1/jobs/{ids[-1]}/events"))
                heard.append(answer.aiter_text())
                assert "queued" in await anext(heard[-1])
            await asyncio.sleep(SETTLE)
            after = server.memory
            status = (await client.get(f"/v1/jobs/{ids[-1]}")).json()["status"]
            assert status == "queued", f"the job that was to wait is {status}"
        for id in ids:
            await client.delete(f"/v1/jobs/{id}")
    return before, after
