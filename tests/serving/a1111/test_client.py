"""The client of A1111 on PyPI, webuiapi, unmodified, on a server of tiny; and the calls of docs/a1111-api.md."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webuiapi
from PIL import Image

import overpaint
from overpaint.serving.service import Service
from overpaint.serving.settings import Settings
from tests.serving.conftest import QUICK
from tests.serving.openai.conftest import listening
from tests.support.examples import EXAMPLES
from tests.test_readme import ROOT, commands, snippets

PAGE = ROOT / "docs/a1111-api.md"
FOX = Image.open(EXAMPLES[1])
KEY = "a-key-of-tests"
SMALL: dict[str, Any] = {"prompt": "fox, ink style", "seed": 7, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def tiny() -> Iterator[str]:
    """The address of a server of tiny."""
    with listening(Service.load(Settings(models=("tiny",), **{**QUICK, "hosts": ()}))) as address:
        yield address


@pytest.fixture
def address(serve: Callable[..., Service]) -> Iterator[str]:
    """The address of a server of the fake model."""
    with listening(serve(hosts=())) as found:
        yield found


@pytest.fixture
def api(address: str) -> webuiapi.WebUIApi:
    return client_of(address)


def client_of(address: str, **options: Any) -> webuiapi.WebUIApi:
    return webuiapi.WebUIApi(baseurl=f"{address}/sdapi/v1", sampler="Euler a", steps=8, **options)


def test_img2img(tiny: str) -> None:
    api, alone = client_of(tiny), overpaint.load("tiny")
    made = api.img2img(images=[FOX], denoising_strength=0.5, batch_size=2, **SMALL)
    options: dict[str, Any] = {"convention": "a1111", "sampler": "euler_a", "steps": 8, "guidance_scale": 7.0}
    expected = alone(FOX, "fox, ink style", strength=0.5, seed=7, n=2, resize_mode="stretch", size=(64, 64), **options)
    for image, other in zip(made.images, expected.images, strict=True):
        assert np.abs(np.asarray(image, np.int16) - np.asarray(other, np.int16)).max() <= 1
    assert made.info["all_seeds"] == [7, 8]
    assert made.info["notes"] == []
    assert made.parameters["denoising_strength"] == 0.5
    read = api.png_info(made.images[0])
    assert read.info == made.images[0].info["parameters"]
    assert read.parameters["Sampler"] == "Euler a"


def test_inpainting(tiny: str) -> None:
    api = client_of(tiny)
    mask = Image.open(ROOT / "models/examples/masks/fox-right.png")
    made = api.img2img(images=[FOX], mask_image=mask, mask_blur=2, inpainting_fill=1, **SMALL).image
    before = np.asarray(FOX.convert("RGB"), np.int16)
    changed = np.abs(np.asarray(made.convert("RGB"), np.int16) - before).max(axis=2)
    kept = np.asarray(mask.convert("L")) == 0
    assert changed[~kept].mean() > 10
    assert changed[:, :16].max() == 0


def test_txt2img_and_a_second_pass(api: webuiapi.WebUIApi) -> None:
    assert api.txt2img(**SMALL).image.size == (64, 64)
    larger = api.txt2img(**SMALL, enable_hr=True, hr_upscaler=webuiapi.HiResUpscaler.Lanczos, denoising_strength=0.5)
    assert larger.image.size == (128, 128)
    with pytest.raises(RuntimeError, match="hr_upscaler"):
        api.txt2img(**SMALL, enable_hr=True)
    with pytest.raises(RuntimeError, match="restore_faces is not served"):
        api.txt2img(**SMALL, restore_faces=True)


def test_scripts(api: webuiapi.WebUIApi) -> None:
    upscaled = api.img2img(images=[FOX], script_name="SD upscale", script_args=["", 16, "Lanczos", 2], **SMALL)
    assert upscaled.image.size == (128, 128)
    loops = api.img2img(images=[FOX], script_name="Loopback", script_args=[3, 0.3, "Lazy", "None"], **SMALL)
    assert len(loops.images) == 3
    plot = api.img2img(images=[FOX], script_name="X/Y/Z plot", script_args=[4, "4,8", None, 5, "1,7", None], **SMALL)
    assert len(plot.images) == 1
    units = [webuiapi.ControlNetUnit(image=FOX)]
    # Without a dict of its own the client would keep the units for its later calls.
    with pytest.raises(RuntimeError, match="names no model"):
        api.img2img(images=[FOX], controlnet_units=units, alwayson_scripts={}, **SMALL)
    assert (api.controlnet_version(), api.controlnet_model_list()) == (3, [])
    assert "canny" in api.controlnet_module_list()
    [edges] = api.controlnet_detect(images=[FOX], module="canny", processor_res=64).images
    assert edges.size == (64, 64)


def test_extras(api: webuiapi.WebUIApi) -> None:
    assert api.extra_single_image(FOX, upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=2).image.size == (
        128,
        128,
    )
    several = api.extra_batch_images([FOX, FOX], upscaler_1=webuiapi.Upscaler.Nearest, upscaling_resize=1.5)
    assert [image.size for image in several.images] == [(96, 96)] * 2
    with pytest.raises(RuntimeError, match="interrogate"):
        api.interrogate(FOX)


def until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_progress_and_interrupt(api: webuiapi.WebUIApi, slow: Callable[[float], None]) -> None:
    slow(0.02)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(api.img2img, images=[FOX], steps=1000, denoising_strength=1, **SMALL)
        until(lambda: waiting.done() or api.get_progress()["current_image"] is not None)
        assert 0 < api.get_progress()["progress"] < 1
        assert api.get_progress()["state"]["sampling_steps"] == 1000
        assert api.interrupt() == {}
        assert waiting.result().images == []
    api.util_wait_for_ready(check_interval=0.01)


def test_options_and_lists(api: webuiapi.WebUIApi) -> None:
    assert api.util_get_current_model() == api.util_get_model_names()[0]
    api.util_set_model("fake")
    api.set_options({"CLIP_stop_at_last_layers": 2})
    assert api.txt2img(**SMALL).info["clip_skip"] == 2
    api.set_options({"CLIP_stop_at_last_layers": 1})
    assert "Euler a" in api.util_get_sampler_names()
    assert "karras" in api.util_get_scheduler_names()
    assert api.get_upscalers()[1]["name"] == "Lanczos"
    assert "loopback" in api.get_scripts()["img2img"]
    assert api.get_cmd_flags()["api"]
    assert api.get_memory()["ram"]["total"] > 0
    assert api.get_embeddings()["loaded"] == {}
    assert api.refresh_checkpoints() is None
    assert api.skip() is None
    for empty in (api.get_sd_vae, api.get_loras, api.get_latent_upscale_modes, api.get_hypernetworks):
        assert empty() == []
    for empty in (api.get_face_restorers, api.get_realesrgan_models, api.get_prompt_styles):
        assert empty() == []


def test_a_user_and_a_password(serve: Callable[..., Service]) -> None:
    with listening(serve(hosts=(), api_keys=(KEY,))) as address:
        assert client_of(address, username="anybody", password=KEY).txt2img(**SMALL).image.size == (64, 64)
        with pytest.raises(RuntimeError, match="401"):
            client_of(address, username="anybody", password="wrong").txt2img(**SMALL)


def test_the_calls_of_the_page_run_as_written(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "out").mkdir()
    calls = [line for line in commands(PAGE) if line.startswith(("curl ", "fox=", "json="))]
    for words in (["bash", "-ec", "\n".join(calls)], [sys.executable, "-c", "\n".join(snippets(PAGE))]):
        words[-1] = words[-1].replace("http://127.0.0.1:8188", tiny)
        subprocess.run(words, cwd=tmp_path, check=True)
    assert Image.open(tmp_path / "out/a1111.png").size == (64, 64)
    assert Image.open(tmp_path / "out/webuiapi.png").size == (64, 64)
    assert Image.open(tmp_path / "out/sketch.png").size == (64, 64)
