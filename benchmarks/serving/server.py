"""What HTTP adds to a request beyond the runtime, and what listeners of a job that waits cost."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import AsyncExitStack, closing
from pathlib import Path
from statistics import median

import httpx
import numpy as np

import overpaint as runtime
from benchmarks.report import publish, table
from overpaint.runtime.model.scheduler import MAX_ACTIVE
from overpaint.serving.made import MadePicture
from tests.support.bundles import fake_bundle

from .client import Call, Server, calls, overpaint
from .sections import busy

STEPS, SIZE = 10, 64
UNCOUNTED = 10
LONG = 1000
"""Steps of the jobs that keep one waiting."""
SETTLE = 3.0
"""Seconds after which memory is read."""


def publish_overhead(pairs: int, listeners: int, write: bool) -> None:
    """Publish both."""
    folder = Path(tempfile.mkdtemp(prefix="overpaint-serving-")) / "fake"
    fake_bundle(folder)
    rows = []
    for model, engine, times in (("tiny", "openvino", 1), (str(folder), "fake", 5)):
        with closing(overpaint(model, engine=engine)) as server:
            rows.append([Path(model).name, *_pairs(server, model, engine, times * pairs)])
            if engine == "fake":  # whose jobs under way need no more memory from step to step
                before, after = asyncio.run(_listening(server, listeners))
    header = (
        "model",
        "pairs",
        "over HTTP: median, ms",
        "the runtime alone",
        "added: median",
        "a quarter",
        "three quarters",
    )
    body = (
        f"A picture, {SIZE} x {SIZE} pixels, {STEPS} steps with guidance, from the bytes of a PNG to those of another: "
        "by `overpaint serve` over a connection that stays open, and by the runtime in the client's process, in turn; "
        f"after {UNCOUNTED} pairs that do not count. What is added is that of each pair, in ms. The fake model takes "
        "next to no time and shows what the server does for any.\n\n"
        + table(header, rows)
        + f"\n\n{listeners} idle listeners of the events of a job that waits, each with a connection of its own: the "
        f"server's memory is {before:.0f} MB before and {after:.0f} MB with them, {after - before:.0f} MB more "
        f"({(after - before) / listeners * 1e3:.0f} kB each).\n\n{busy().capitalize()}."
    )
    title = "What the server adds, and what listeners cost"
    publish("serving", "serving-server", title, body, "openvino", "starlette", "uvicorn", write=write)


def _pairs(server: Server, model: str, engine: str, pairs: int) -> list[str]:
    """Cells on both ways, and on the milliseconds that HTTP added in each pair."""
    took: list[list[float]] = [[], []]
    with runtime.load(model, engine=engine) as pipe, httpx.Client(base_url=server.url, timeout=60) as client:

        def over_http(call: Call) -> None:
            files = {"image": ("a.png", call.image, "image/png")}
            client.post("/v1/jobs?wait=true", data=call.fields, files=files).raise_for_status()

        def alone(call: Call) -> None:
            result = pipe(call.image, call.fields["prompt"], seed=int(call.fields["seed"]), **options)
            MadePicture.of(result.outputs[0]).encoded("png")

        options = {"steps": STEPS, "strength": 1.0, "guidance_scale": 7.0, "convention": "diffusers"}
        for index, call in enumerate(calls(pairs + UNCOUNTED, SIZE, (STEPS, STEPS), 7.0, 5)):
            call.fields.update({"prompt": f"f {index}", "steps": str(STEPS), "strength": "1.0"})
            for way in (0, 1)[:: -1 if index % 2 else 1]:
                start = time.perf_counter()
                (over_http, alone)[way](call)
                took[way].append((time.perf_counter() - start) * 1e3)
    counted = [each[UNCOUNTED:] for each in took]
    added = np.quantile(np.subtract(*counted), (0.5, 0.25, 0.75))
    return [str(pairs), *(f"{value:.2f}" for value in (*map(median, counted), *added))]


async def _listening(server: Server, listeners: int) -> tuple[float, float]:
    """Megabytes of the server before and with listeners of a job that waits."""
    limits = httpx.Limits(max_connections=None)
    call = calls(1, SIZE, (1, 1), 7.0, 6)[0]
    fields = {**call.fields, "prompt": "f", "steps": str(LONG), "strength": "1.0", "n": "16"}
    async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:
        ids = []
        for _ in range(MAX_ACTIVE // 16 + 8):
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
