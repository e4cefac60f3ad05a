"""A server of its own thread, which OpenAI's client calls over a socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
import uvicorn

from overpaint.serving.app import create_app
from overpaint.serving.service import Service
from overpaint.serving.settings import Settings
from tests.serving.conftest import QUICK


@contextmanager
def listening(service: Service) -> Iterator[str]:
    """The address of a service that is ready."""
    config = uvicorn.Config(create_app(service), port=0, log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not (server.started and service.ready):
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def client_of(address: str, key: str = "none", **options: Any) -> openai.OpenAI:
    """OpenAI's own client, which does not try again."""
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0, **options)


@pytest.fixture(scope="module")
def tiny() -> Iterator[str]:
    """The address of a server of tiny."""
    with listening(Service.load(Settings(models=("tiny",), **{**QUICK, "hosts": ()}))) as address:
        yield address


@pytest.fixture
def listen(serve: Callable[..., Service]) -> Iterator[Callable[..., str]]:
    """Makes servers of the fake model, of settings by name, and gives their addresses."""
    made: list[Any] = []

    def start(**settings: Any) -> str:
        context = listening(serve(hosts=(), **settings))
        made.append(context)
        return context.__enter__()

    yield start
    for context in made:
        context.__exit__(None, None, None)
