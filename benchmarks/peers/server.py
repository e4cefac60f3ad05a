"""A peer behind HTTP, one picture at a time, under the call of overpaint's own server.

python -m benchmarks.peers.server '{"adapter": "eager", "folder": "models/tiny-checkpoint", "size": 64, "options": {}}'
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from io import BytesIO
from pathlib import Path

import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .work import Work


def main() -> None:
    task = json.loads(sys.argv[1])
    adapter = import_module(f"benchmarks.peers.adapters.{task['adapter']}")
    work = Work("", task["size"], 20, 1.0, task["guidance"], 0, 0, 0)
    loaded = adapter.load(Path(task["folder"]), work, **task["options"])
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    print(f"serving {task['adapter']} at http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    config = uvicorn.Config(_app(loaded.paint), log_config=None, access_log=False)
    uvicorn.Server(config).run([listening])


def _app(paint: Callable[..., Image.Image]) -> Starlette:
    lock = threading.Lock()

    def painted(form: FormData, data: bytes) -> bytes:
        image, stream = Image.open(BytesIO(data)).convert("RGB"), BytesIO()
        with lock:
            made = paint(
                image,
                str(form["prompt"]),
                int(str(form["seed"])),
                steps=int(str(form["steps"])),
                strength=float(str(form["strength"])),
            )
        made.save(stream, "PNG")
        return stream.getvalue()

    async def submit(request: Request) -> Response:
        async with request.form() as form:
            image = form["image"]
            assert not isinstance(image, str)
            return Response(await asyncio.to_thread(painted, form, await image.read()), media_type="image/png")

    async def ready(request: Request) -> Response:
        return Response("ready")

    return Starlette(routes=[Route("/v1/jobs", submit, methods=["POST"]), Route("/readyz", ready)])


if __name__ == "__main__":
    main()
