"""Servers in processes of their own, and clients that send them pictures over HTTP as they come."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import httpx
import numpy as np
from PIL import Image

STRENGTHS = (0.3, 0.5, 0.75, 1.0)
START = 300.0
"""Seconds that a server has to start."""


@dataclass(frozen=True)
class Call:
    """A picture to send, with its fields; `executed` steps are run."""

    image: bytes
    fields: dict[str, str]
    executed: int


def calls(count: int, size: int, steps: tuple[int, int], guidance: float, seed: int) -> list[Call]:
    """So many, of steps from one to another; the same for the same seed."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        stream = BytesIO()
        Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8)).save(stream, "PNG")
        executed, strength = int(rng.integers(steps[0], steps[1] + 1)), float(rng.choice(STRENGTHS))
        fields = {
            "prompt": f"fox {seed} {index}",
            "seed": str(index),
            "steps": str(math.ceil(executed / strength)),
            "strength": str(strength),
            "guidance_scale": str(guidance),
            "convention": "diffusers",
        }
        made.append(Call(stream.getvalue(), fields, executed))
    return made


class Server:
    """A process that says where it serves; `module` and its arguments are Python's."""

    def __init__(self, module: str, *arguments: str, python: str = sys.executable) -> None:
        command = [python, "-m", module, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        line = next((line for line in self.process.stdout if " at http://" in line), None)
        if line is None:
            raise RuntimeError(f"{module} {' '.join(arguments)} ended with {self.process.wait()}")
        self.url = line.split(" at ")[1].strip()
        end = time.monotonic() + START
        while not self._ready():
            if time.monotonic() > end:
                raise TimeoutError(f"{self.url} is not ready after {START:g} s")
            time.sleep(0.1)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def memory(self) -> float:
        """Its resident megabytes."""
        with open(f"/proc/{self.process.pid}/status") as status:
            fields = dict(line.split(":", 1) for line in status)
        return int(fields["VmRSS"].split()[0]) * 1024 / 1e6

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(60)


def overpaint(model: str, **settings: Any) -> Server:
    """Our own server on a bundle."""
    flags = {"models": model, "port": 0, "queue-limit": 100_000, "keep-jobs": 8, "linger-seconds": 0, **settings}
    words = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return Server("overpaint", "serve", *words)


def peer(adapter: str, folder: str, size: int, guidance: float, **options: Any) -> Server:
    """A runtime behind the same call."""
    task = {"adapter": adapter, "folder": folder, "size": size, "guidance": guidance, "options": options}
    return Server("benchmarks.peers.server", json.dumps(task))


def send(server: Server, those: Sequence[Call], times: Sequence[float]) -> list[float]:
    """Send calls at their times, whatever became of those before; the seconds of each from its time to its answer."""
    return asyncio.run(_send(server.url, those, times))


async def _send(url: str, those: Sequence[Call], times: Sequence[float]) -> list[float]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=None, limits=limits) as client:
        begun = time.perf_counter()

        async def one(call: Call, at: float) -> float:
            await asyncio.sleep(max(begun + at - time.perf_counter(), 0))
            answer = await client.post(
                "/v1/jobs?wait=true", data=call.fields, files={"image": ("a.png", call.image, "image/png")}
            )
            answer.raise_for_status()
            return time.perf_counter() - begun - at

        return list(await asyncio.gather(*(one(call, at) for call, at in zip(those, times, strict=True))))
