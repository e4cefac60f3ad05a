"""A server with the small model, and a browser to look at its page."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from overpaint.serving.app import create_app
from overpaint.serving.service import Service
from overpaint.serving.settings import Settings

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def served(service: Service) -> Iterator[str]:
    """The address of a service while it is served from a thread."""
    config = uvicorn.Config(create_app(service), port=0, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a server with the shipped model listens."""
    yield from served(Service.load(Settings(models=("tiny",), linger_seconds=0.0, drain_seconds=5.0)))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("there is no chromium on this machine")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page in a fresh profile; in the end nothing may stand in its console, nor have been asked of others."""
    contexts, seen = [], list[str]()
    # A browser's own notes on what the server refuses, and on that it is not ready yet.
    noted = ("the server responded with a status of 400", "the server responded with a status of 503")

    def open_page(**options: Any) -> Any:
        base = options.get("base_url", address)

        def allowed(url: str) -> bool:
            return url.startswith((base, "blob:", "data:"))

        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on(
            "console",
            lambda message: any(note in message.text for note in noted) or seen.append(f"console: {message.text}"),
        )
        page.on("pageerror", lambda error: seen.append(f"error: {error}"))
        page.on("request", lambda request: allowed(request.url) or seen.append(f"outside: {request.url}"))
        page.goto(base)
        page.wait_for_selector("body.ready #option-prompt")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert seen == []
