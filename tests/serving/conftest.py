"""Services on the fake engine."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import overpaint
from overpaint import Pipeline
from overpaint.runtime.model.model import Model
from overpaint.serving.orders import Order
from overpaint.serving.service import Service
from overpaint.serving.settings import Settings
from tests.support.engines import Counting
from tests.support.painting import Pixels
from tests.support.signals import hearing

Started = tuple["subprocess.Popen[str]", httpx.Client]
Start = Callable[..., Started]

QUICK: dict[str, Any] = {"warm_up": (), "hosts": ("testserver", "here"), "linger_seconds": 0.0, "drain_seconds": 10.0}


def png(pixels: Any) -> bytes:
    """The file of a picture."""
    stream = BytesIO()
    Image.fromarray(np.asarray(pixels)).save(stream, "PNG")
    return stream.getvalue()


def text(data: bytes) -> str:
    """A file as JSON has it."""
    return base64.b64encode(data).decode()


def counting(engine: Any) -> Counting:
    """The counted engine within others, such as the metrics' around it."""
    while not isinstance(engine, Counting):
        engine = engine.engine
    return engine


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a server of flags, and gives its process and a client of it, once it is ready."""
    made: list[tuple[subprocess.Popen[str], httpx.Client]] = []

    def started(
        *flags: str,
        program: Sequence[str] = ("-m", "overpaint"),
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Started:
        words = [sys.executable, *program, "serve", "--port", "0", *flags]
        process = hearing(words, stdout=subprocess.PIPE, **options)
        assert process.stdout is not None
        client = httpx.Client(base_url=process.stdout.readline().split()[-1], headers=headers, timeout=60)
        made.append((process, client))
        end = time.monotonic() + 60
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.05)
        return process, client

    yield started
    for process, client in made:
        client.close()
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def file(picture: Pixels) -> bytes:
    """The bytes of a picture of 56x40."""
    return png(picture)


@pytest.fixture
def mask_file(picture: Pixels) -> bytes:
    """The bytes of a mask whose right half is white."""
    levels = np.zeros(picture.shape[:2], np.uint8)
    levels[:, 28:] = 255
    return png(levels)


@pytest.fixture
def model(fake: Pipeline) -> Model:
    """The fake model; its denoiser is counted, and waits where `slow` says so."""
    fake.denoiser.engine = Counting(fake.denoiser.engine)
    return fake.model


@pytest.fixture
def slow(model: Model) -> Callable[[float], None]:
    """Makes each call of the denoiser take so many seconds."""
    engine = counting(model.stages.denoiser.engine)

    def wait(seconds: float) -> None:
        engine.before = lambda feeds: time.sleep(seconds)

    return wait


@pytest.fixture
def serve(model: Model) -> Iterator[Callable[..., Service]]:
    """Makes a started service of the fake model, of settings by name."""
    made: list[Service] = []

    def start(**settings: Any) -> Service:
        service = Service({"fake": model}, Settings(**{**QUICK, **settings}))
        service.start()
        made.append(service)
        return service

    yield start
    for service in made:
        service.close()


@pytest.fixture
def lone(fake_folder: Path) -> Pipeline:
    """A pipeline beside the service's, for what is made alone."""
    return overpaint.load(fake_folder, engine="fake")


@pytest.fixture
def order(file: bytes) -> Callable[..., Order]:
    """Makes orders of img2img of ten steps, or of another verb; what is no field is an option."""

    def make(verb: str = "img2img", **fields: Any) -> Order:
        names = set(Order.__dataclass_fields__)
        options = {"seed": 1, "steps": 10, "strength": 1.0, "sampler": "euler_a"}
        options |= {name: value for name, value in fields.items() if name not in names}
        own = {name: value for name, value in fields.items() if name in names}
        return Order(verb, "", **{"images": (file,), "prompt": "a", "options": options, **own})

    return make
