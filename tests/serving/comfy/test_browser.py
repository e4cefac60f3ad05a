"""ComfyUI's own page on the shipped model, in Chromium.

Run it with `pytest -m slow`, where comfyui-frontend-package is installed, or OVERPAINT_COMFY_FRONTEND names the folder
of its files.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from overpaint.serving.comfy.app import ComfyApp
from overpaint.serving.comfy.frontend import INSTALLED, MODULE
from overpaint.serving.service import Service
from overpaint.serving.settings import Settings
from tests.serving.comfy.conftest import Json, listening
from tests.serving.page.conftest import browser

__all__ = ["browser"]

pytestmark = pytest.mark.slow

SHOTS = os.environ.get("OVERPAINT_COMFY_SHOTS")
"""A folder for pictures of the page."""


@dataclass
class Page:
    """The page, what came over its websockets, and what went wrong."""

    page: Any
    address: str
    messages: list[Json] = field(default_factory=list)
    binaries: list[bytes] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def hear(self, payload: str | bytes) -> None:
        if isinstance(payload, bytes):
            self.binaries.append(payload)
        else:
            self.messages.append(json.loads(payload))

    def count(self, kind: str) -> int:
        return sum(message["type"] == kind for message in self.messages)

    def until(self, done: Callable[[], Any]) -> None:
        end = time.monotonic() + 90
        while not done():
            assert time.monotonic() < end, self.wrong
            self.page.wait_for_timeout(50)

    def open(self, path: str = "/") -> None:
        self.page.goto(f"{self.address}{path}")

    def template_is_there(self) -> bool:
        there: bool = self.page.evaluate(
            "() => window.app?.graph?.nodes?.some((node) => node.type === 'VAEEncode') ?? false"
        )
        return there

    def shot(self, name: str) -> None:
        if SHOTS:
            self.page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))

    def run(self) -> None:
        """Queue the graph, and wait for its end."""
        before = self.count("execution_success")
        self.page.get_by_role("button", name="Run", exact=True).first.click()
        self.until(lambda: self.count("execution_success") > before)

    def pictures(self) -> list[str]:
        """The addresses of the pictures that the saving node shows."""
        shown: list[str] = self.page.evaluate(
            "() => app.graph.nodes.filter((node) => node.type === 'SaveImage')"
            ".flatMap((node) => (node.imgs ?? []).map((image) => image.src))"
        )
        return shown


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    page = os.environ.get("OVERPAINT_COMFY_FRONTEND") or (INSTALLED if importlib.util.find_spec(MODULE) else "")
    if not page:
        pytest.skip("ComfyUI's page is not there: install comfyui-frontend-package, or set OVERPAINT_COMFY_FRONTEND")
    folder = str(tmp_path_factory.mktemp("comfy"))
    service = Service.load(Settings(models=("tiny",), comfy_dir=folder, comfy_frontend=page))
    service.start()
    app = ComfyApp(service)
    with listening(app) as found:
        yield found
    app.desks.close()
    service.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Page]:
    """The page in a fresh profile; in the end nothing may have gone wrong, nor been asked of others."""
    with browser.new_context(viewport={"width": 1600, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(90_000)
        made = Page(page, address)
        page.on("console", lambda each: each.type == "error" and made.wrong.append(f"console: {each.text}"))
        page.on("pageerror", lambda error: made.wrong.append(f"error: {error}"))
        page.on("response", lambda each: each.status >= 400 and made.wrong.append(f"{each.status}: {each.url}"))
        local = (address, "blob:", "data:")
        page.on("request", lambda each: each.url.startswith(local) or made.wrong.append(f"outside: {each.url}"))
        page.on("websocket", lambda socket: socket.on("framereceived", made.hear))
        yield made
        assert made.wrong == []


def test_a_template_is_opened_run_edited_and_run_again(visit: Page) -> None:
    page = visit.page
    visit.open()  # the first visit opens the dialog of the templates
    page.get_by_text("Img2img", exact=True).click()
    visit.until(visit.template_is_there)
    visit.shot("template")
    visit.run()
    visit.until(lambda: len(visit.pictures()) == 1)
    page.wait_for_timeout(500)
    visit.shot("picture")
    assert visit.count("progress") > 1
    assert any(data[:4] == b"\0\0\0\4" for data in visit.binaries), "previews came"
    (first,) = visit.pictures()
    page.evaluate(
        """() => {
          const sampler = app.graph.nodes.find((node) => node.type === "KSampler");
          sampler.widgets.find((widget) => widget.name === "seed").value = 1234;
          sampler.widgets.find((widget) => widget.name === "steps").value = 30;
        }"""
    )
    visit.run()
    visit.until(lambda: visit.pictures() not in ([], [first]))
    (second,) = visit.pictures()
    files = [httpx.get(each).content for each in (first, second)]
    assert files[0].startswith(b"\x89PNG")
    assert files[0] != files[1]
    history = httpx.get(f"{visit.address}/history").json()
    assert [entry["status"]["completed"] for entry in history.values()] == [True, True]
    assert b"tEXtworkflow" in files[1], "the picture can be dropped on the page"
    assert b"tEXtprompt" in files[1]
    page.wait_for_timeout(500)
    visit.shot("again")


def test_what_cannot_run_is_shown(visit: Page) -> None:
    page = visit.page
    visit.open("/?template=img2img")
    visit.until(visit.template_is_there)
    page.evaluate("() => { app.graph.nodes.find((node) => node.type === 'KSampler').disconnectInput(0); }")
    with page.expect_response(lambda response: response.url.endswith("/api/prompt")) as answer:
        page.get_by_role("button", name="Run", exact=True).first.click()
    assert answer.value.status == 400
    visit.until(lambda: page.evaluate("() => app.graph.nodes.find((node) => node.type === 'KSampler').has_errors"))
    page.wait_for_timeout(1000)
    visit.shot("error")
    # The page and the browser note the refusal.
    visit.wrong[:] = [each for each in visit.wrong if "400" not in each and "PromptExecutionError" not in each]
