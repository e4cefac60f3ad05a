"""The page in a browser, on the shipped model; without a chromium these tests skip."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import overpaint
from overpaint.runtime.model.model import Model
from overpaint.serving.adapters import lend
from overpaint.serving.service import Service
from overpaint.serving.settings import Settings
from tests.serving.conftest import QUICK
from tests.serving.page.conftest import served
from tests.support.bundles import fake_bundle, fake_controlnet, fake_image_prompt

EXAMPLES = Path(__file__).resolve().parents[3] / "models/examples"
Visit = Callable[..., Any]

WATCH = """() => {
  window.looks = new Set();
  const small = new OffscreenCanvas(32, 32).getContext("2d", { willReadFrequently: true });
  const look = () => {
    if (!document.body.classList.contains("running")) return;
    small.drawImage(document.querySelector("#stage canvas"), 0, 0, 32, 32);
    window.looks.add(small.getImageData(0, 0, 32, 32).data.join());
    setTimeout(look, 40);
  };
  new MutationObserver(look).observe(document.body, { attributeFilter: ["class"] });
}"""
SENT = """() => {
  const { append } = FormData.prototype;
  window.sent = {};
  FormData.prototype.append = function (name, ...values) {
    window.sent[name] = values[0];
    append.call(this, name, ...values);
  };
}"""
HANDLE = """(side) => {
  const stage = Konva.stages[0];
  const [handle] = stage.find(".handle").filter((each) => each.sides?.length === 1 && each.sides[0] === side);
  const box = handle.getClientRect(), around = stage.container().getBoundingClientRect();
  return [around.x + box.x + box.width / 2, around.y + box.y + box.height / 2];
}"""


def stroke(page: Any) -> None:
    """Paint down the middle of the picture."""
    box = page.locator("#stage").bounding_box()
    x, y, step = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["height"] / 12
    page.mouse.move(x, y - 2 * step)
    page.mouse.down()
    page.mouse.move(x + step, y + 2 * step, steps=6)
    page.mouse.up()


def paint(page: Any) -> None:
    page.click("#paint")
    page.wait_for_selector("#result-bar:not([hidden])")


def until(done: Callable[[], bool]) -> None:
    for _ in range(600):
        if done():
            return
        time.sleep(0.1)
    raise AssertionError


def masked(page: Any) -> bool:
    return bool(page.locator("#mask-clear").is_enabled())


def test_a_newcomer_presses_paint(visit: Visit) -> None:
    page = visit()
    assert page.input_value("#option-prompt") == "fox, ink style"
    paint(page)
    assert page.locator(".work").count() == 1
    assert page.inner_text("#notes").startswith("Painted in ")


def test_a_mask_is_painted_run_compared_kept_and_run_again(visit: Visit) -> None:
    page = visit()
    stroke(page)
    page.wait_for_selector("[data-name=content]")
    assert page.inner_text("#mode-hint") == "Changes only what you painted."
    page.fill("#option-steps", "16")
    page.fill("[data-name=strength] input[type=number]", "1")
    page.evaluate(WATCH)
    paint(page)
    assert page.evaluate("window.looks.size") > 2, "the preview moves"
    before = page.evaluate("document.querySelector('#stage canvas').toDataURL()")
    page.locator("#compare").fill("600")
    assert page.get_attribute("#compare", "aria-valuetext") == "60 % input"
    page.wait_for_timeout(50)
    assert page.evaluate("document.querySelector('#stage canvas').toDataURL()") != before
    with page.expect_download() as download:
        page.click("#download")
    assert re.fullmatch(r"fox-ink-style-\d+\.png", download.value.suggested_filename)

    page.reload()
    page.click(".work-open")
    page.wait_for_selector("#result-bar:not([hidden])")
    page.hover(".work")
    page.click(".work-actions [aria-label^='Use the settings']")
    page.wait_for_selector("[data-name=content]")
    assert masked(page)
    assert page.input_value("#option-steps") == "16"
    assert page.input_value("#option-seed").isdecimal()
    paint(page)
    first, again = page.evaluate(
        """() => Promise.all([...document.querySelectorAll(".work img")].map(async (image) => {
          const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
          canvas.getContext("2d").drawImage(image, 0, 0);
          return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.join();
        }))"""
    )
    assert first == again, "the settings of the history make the same picture"
    page.click("#use-result")
    page.wait_for_selector("#result-bar", state="hidden")
    assert not masked(page)


def test_a_run_is_cancelled_here_and_there(visit: Visit, address: str) -> None:
    page = visit()
    page.fill("#option-steps", "1000")
    page.fill("[data-name=strength] input[type=number]", "1")
    with page.expect_response(lambda response: response.url.endswith("/v1/jobs")) as submitted:
        page.click("#paint")
    page.wait_for_selector("#run-text:has-text('Step')")
    page.keyboard.press("Escape")
    page.wait_for_selector("#run-pill", state="hidden")
    id = submitted.value.json()["id"]
    status = page.request.get(f"{address}v1/jobs/{id}").json()["status"]
    assert (status, page.locator(".work").count()) == ("cancelled", 0)
    assert page.locator("#paint").is_enabled()


def test_the_frames_edge_is_dragged(visit: Visit) -> None:
    page = visit()
    page.keyboard.press("f")
    page.wait_for_selector("[data-name=right]")
    x, y = page.evaluate(HANDLE, "right")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 90, y, steps=5)
    page.mouse.up()
    grown = int(page.input_value("#option-right"))
    assert grown > 0
    assert grown % 4 == 0
    page.fill("#option-bottom", "8")
    assert page.inner_text("#size-shown") == f"{64 + grown} × 72"
    page.fill("#option-steps", "4")
    paint(page)
    assert page.inner_text("#size-shown") == f"{64 + grown} × 72"


def test_a_picture_is_enlarged(visit: Visit) -> None:
    page = visit()
    page.check("[value=upscale]")
    page.wait_for_selector("[data-name=scale]")
    page.fill("#option-steps", "10")
    paint(page)
    assert page.inner_text("#size-shown") == "128 × 128"


def test_several_pictures_are_a_batch(visit: Visit) -> None:
    page = visit()
    page.set_input_files("#file-input", [EXAMPLES / "cat.png", EXAMPLES / "pizza.png"])
    page.wait_for_selector("#paint-all:not([hidden])")
    assert page.locator(".source").count() == 2
    page.fill("#option-steps", "6")
    page.click("#paint-all")
    page.wait_for_selector("#result-bar:not([hidden])")
    assert page.locator(".work").count() == 2


def test_the_keyboard_does_it_all(visit: Visit) -> None:
    page = visit()
    for key, tool in (("e", "eraser"), ("h", "hand"), ("b", "brush")):
        page.keyboard.press(key)
        assert page.get_attribute(f"[data-tool={tool}]", "aria-pressed") == "true"
    for key, expected in (("g", True), ("Control+z", False), ("Control+Shift+Z", True), ("Delete", False), ("i", True)):
        page.keyboard.press(key)
        assert masked(page) is expected, key
    size = page.inner_text("#brush-size-shown")
    page.keyboard.press("]")
    assert page.inner_text("#brush-size-shown") != size
    page.keyboard.press("?")
    assert page.locator("#help-dialog").is_visible()
    page.keyboard.press("Escape")
    page.focus("#option-prompt")
    page.keyboard.type("behind")
    assert page.input_value("#option-prompt").endswith("behind")
    assert page.locator("#help-dialog").is_hidden()
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#result-bar:not([hidden])")
    assert page.inner_text("#live").startswith("Painted in")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert page.locator("#result-bar").is_hidden()


def test_what_the_server_refuses_stands_beside_its_field(visit: Visit) -> None:
    page = visit()
    page.click("#more > summary")
    page.fill("#find-option", "sampler")
    page.fill("#option-sampler", "nonsense")
    page.click("#paint")
    page.wait_for_selector("#option-sampler-error:not([hidden])")
    assert "nonsense" in page.inner_text("#option-sampler-error")
    assert page.get_attribute("#option-sampler", "aria-invalid") == "true"
    page.fill("#option-sampler", "")
    page.fill("#option-steps", "0")
    page.click("#paint")
    assert page.locator("#option-steps-error").is_visible()


def test_presets_and_the_theme_are_kept(visit: Visit) -> None:
    page = visit(color_scheme="dark")
    page.click("#switch-theme")
    page.fill("#option-steps", "7")
    page.click("#presets > summary")
    page.fill("#preset-name", "quick")
    page.click("#preset-save")
    page.reload()
    page.wait_for_selector("body.ready #option-steps")
    assert page.get_attribute("html", "data-theme") == "light"
    page.fill("#option-steps", "9")
    page.click("#presets > summary")
    page.click("#preset-load")
    until(lambda: page.input_value("#option-steps") == "7")


def test_a_finger_paints_on_a_phone(visit: Visit) -> None:
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator("#paint").is_visible()
    box = page.locator("#stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    cdp = page.context.new_cdp_session(page)
    cdp.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    cdp.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x + 30, "y": y + 30}]})
    cdp.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_selector("#mask-clear:enabled")
    scale = page.inner_text("#zoom-shown")
    both = [{"x": x - 40, "y": y, "id": 0}, {"x": x + 40, "y": y, "id": 1}]
    apart = [{"x": x - 80, "y": y, "id": 0}, {"x": x + 80, "y": y, "id": 1}]
    for kind, points in (("touchStart", both), ("touchMove", apart), ("touchEnd", [])):
        cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    until(lambda: page.inner_text("#zoom-shown") != scale)
    page.click("#undo")
    assert not masked(page), "the pinch has painted nothing"


@pytest.fixture
def steered(tmp_path: Path) -> Any:
    """The address of a server whose model takes a ControlNet and image prompts."""
    fake_bundle(tmp_path / "bundle", control=True, image=True)
    fake_controlnet(tmp_path / "lines")
    for name in ("style", "faces"):
        fake_image_prompt(tmp_path / name)
    adapters = {"image_prompt_adapters": (str(tmp_path / "style"), str(tmp_path / "faces"))}
    settings = Settings(**{**QUICK, "hosts": (), "controlnets": (str(tmp_path / "lines"),), **adapters})
    models = {"steered": overpaint.load(tmp_path / "bundle", engine="fake").model}
    models |= {"plain": overpaint.load(fake_bundle(tmp_path / "plain").folder, engine="fake").model}
    lend(models, settings)
    yield from served(Service(models, settings))


def test_a_controlnet_and_an_image_prompt_are_chosen(visit: Visit, steered: str) -> None:
    page = visit(base_url=steered)
    page.click("#control-unit > summary")
    page.select_option("#option-controls-net", "lines")
    page.select_option("#option-controls-preprocessor", "canny")
    page.fill("#option-controls-weight", "3")
    page.click("#paint")
    assert page.locator("#option-controls-weight-error").is_visible()
    page.fill("#option-controls-weight", "0.5")
    page.click("#image-prompt-unit > summary")
    page.set_input_files("#image-prompt-unit input[type=file]", EXAMPLES / "cat.png")
    page.wait_for_selector("#image-prompt-unit .count:not([hidden])")
    page.select_option("#option-image_prompts-adapter", "faces")
    page.fill("#option-steps", "4")
    page.evaluate(SENT)
    paint(page)
    assert page.evaluate("sent.controls") == '[{"net":"lines","preprocessor":"canny","weight":0.5}]'
    assert page.evaluate("sent.image_prompts").startswith('[{"adapter":"faces","image":"data:image/png;base64,')
    page.click("#image-prompt-unit [title='Take it away']")
    page.select_option("#option-controls-net", "")
    assert page.locator(".unit .count:visible").count() == 0
    page.hover(".work")
    page.click(".work-actions [aria-label^='Use the settings']")
    page.wait_for_selector("#image-prompt-unit .count:not([hidden])")
    assert page.input_value("#option-controls-weight") == "0.5"
    page.select_option("#model", "plain")
    page.wait_for_selector("#control-unit", state="hidden")
    assert page.locator("#image-prompt-unit").is_hidden()


@pytest.fixture
def guarded(model: Model) -> Any:
    """The address of a server that wants a key."""
    service = Service({"fake": model}, Settings(**{**QUICK, "hosts": (), "api_keys": ("a-long-secret",)}))
    yield from served(service)


def test_a_key_is_asked_for(browser: Any, guarded: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(guarded)
        for key in ("a-wrong-one", "a-long-secret"):
            page.wait_for_selector("#key-dialog[open]")
            page.fill("#key-input", key)
            page.keyboard.press("Enter")
        page.wait_for_selector("body.ready #option-prompt")
        page.reload()
        page.wait_for_selector("body.ready #option-prompt")
        assert page.locator("#key-dialog").is_hidden()
