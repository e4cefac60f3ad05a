"""What A1111's interface refuses, lists, keeps for a caller, and tells of calls under way."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from overpaint import Pipeline
from tests.serving.a1111.conftest import Json, Sdapi, info, pictures
from tests.serving.conftest import png, text

Call = Callable[..., Json]
Connect = Callable[..., Sdapi]
KEYS = {"one": "one-one-one", "two": "two-two-two"}


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"sampler_name": "Nonsense"}, 400, "Sampler not found"),
        ({"sampler_name": "DPM adaptive"}, 400, "dpm_fast"),
        ({"scheduler": "nonsense"}, 400, "schedule"),
        ({"script_name": "nonsense"}, 422, "Script 'nonsense' not found"),
        ({"script_name": "Soft Inpainting"}, 422, "Script 'Soft Inpainting' not found"),
        ({"alwayson_scripts": {"nonsense": {"args": []}}}, 422, "always on script nonsense not found"),
        ({"alwayson_scripts": {"Loopback": {"args": []}}}, 422, "always on script Loopback not found"),
        ({"alwayson_scripts": {"ControlNet": {"args": [{"enabled": True}]}}}, 400, "names no model"),
        ({"alwayson_scripts": {"ControlNet": {"args": ["x"]}}}, 400, "ControlNet unit 0"),
        ({"alwayson_scripts": {"ControlNet": {"args": {}}}}, 422, "are a list"),
        ({"init_images": []}, 404, "Init image not found"),
        ({"init_images": None}, 404, "Init image not found"),
        ({"init_images": ["%%%"]}, 400, "Invalid encoded image"),
        ({"init_images": ["http://127.0.0.1/a.png"]}, 400, "not followed"),
        ({"init_images": [base64.b64encode(b"nonsense").decode()]}, 400, "picture"),
        ({"mask": "%%%"}, 400, "Invalid encoded image"),
        ({"prompt": 3}, 422, "prompt is no text"),
        ({"steps": "many"}, 422, "steps is no whole number"),
        ({"steps": 0}, 400, "steps"),
        ({"cfg_scale": True}, 422, "cfg_scale"),
        ({"denoising_strength": 2}, 400, "denoising_strength"),
        ({"batch_size": 0}, 400, "batch_size"),
        ({"batch_size": 1000}, 400, "the most"),
        ({"width": 40000}, 400, "width"),
        ({"resize_mode": 3}, 400, "latent"),
        ({"restore_faces": True}, 400, "restore_faces is not served"),
        ({"tiling": True}, 400, "tiling"),
        ({"styles": ["mine"]}, 400, "styles"),
        ({"refiner_checkpoint": "other"}, 400, "refiner_checkpoint"),
        ({"s_churn": 3}, 400, "s_churn"),
        ({"initial_noise_multiplier": 0.5}, 400, "initial_noise_multiplier"),
        ({"latent_mask": "abc"}, 400, "latent_mask"),
        ({"override_settings": {"tiling": True}}, 400, "tiling"),
        ({"override_settings": {"sd_model_checkpoint": "other"}}, 400, "checkpoint"),
        ({"override_settings": {"CLIP_stop_at_last_layers": 20}}, 400, "CLIP_stop"),
        ({"override_settings": {"randn_source": {}}}, 400, "randn_source"),
        ({"script_name": "Loopback", "script_args": [2, 0.3, "Linear", "CLIP"]}, 400, "interrogated"),
        ({"script_name": "Loopback", "script_args": [99]}, 400, "99 passes"),
        ({"script_name": "Loopback", "script_args": [1] * 9}, 400, "takes 4 arguments"),
        ({"script_name": "SD upscale", "script_args": ["", 8, "ESRGAN"]}, 400, "Lanczos"),
        ({"script_name": "SD upscale", "script_args": ["", 8, 1, 99]}, 400, "scale factor"),
        ({"script_name": "SD upscale", "script_args": ["", 8, 1, 2], "n_iter": 2}, 400, "n_iter"),
        ({"script_name": "Ultimate SD upscale", "script_args": ["", 32, 64]}, 400, "squares"),
        ({"script_name": "X/Y/Z plot", "script_args": []}, 400, "axis"),
        ({"script_name": "X/Y/Z plot", "script_args": [4, "x"]}, 400, "no value of Steps"),
        ({"script_name": "X/Y/Z plot", "script_args": [30, "1"]}, 400, "by name"),
        ({"script_name": "X/Y/Z plot", "script_args": ["Styles", "1"]}, 400, "Styles"),
    ],
)  # fmt: skip
def test_what_is_not_served_is_named(fields: Json, status: int, words: str, sdapi: Sdapi, call: Call) -> None:
    assert words in sdapi.refused("img2img", status, **{**call(), **fields})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"hr_upscaler": None}, "Latent"),
        ({"hr_upscaler": "Latent (bicubic)"}, "Latent (bicubic)"),
        ({"hr_resize_x": 100, "hr_resize_y": 100}, "shape"),
        ({"hr_scale": 99}, "hr_scale"),
        ({"hr_checkpoint_name": "other"}, "hr_checkpoint_name"),
        ({"denoising_strength": 0}, "denoising_strength"),
    ],
)
def test_a_second_pass_that_is_not_served_is_named(fields: Json, words: str, sdapi: Sdapi, call: Call) -> None:
    assert words in sdapi.refused("txt2img", 400, **{**call(enable_hr=True, hr_upscaler="Lanczos"), **fields})


def test_what_does_no_harm_is_noted(sdapi: Sdapi, call: Call) -> None:
    fields = call(sampler_name="DDIM", scheduler="Karras", save_images=True, override_settings={"made_up": 1})
    idle = {"ControlNet": {"args": [{"enabled": False}]}, "Seed": {"args": [1]}, "soft inpainting": {"args": [False]}}
    notes = info(sdapi.post("img2img", **fields, alwayson_scripts=idle, comments={"a": "b"}))["notes"]
    assert [
        word for word in ("karras", "save_images", "made_up", "comments") if not any(word in each for each in notes)
    ] == []


def test_no_pictures_are_sent_where_none_are_wanted(sdapi: Sdapi, call: Call) -> None:
    answer = sdapi.post("img2img", **call(send_images=False, seed=-1))
    assert answer["images"] == []
    assert info(answer)["all_seeds"] == [info(answer)["seed"]] == [answer["parameters"]["seed"]]


def test_nothing_is_under_way_at_first(sdapi: Sdapi) -> None:
    found = sdapi.get("progress")
    assert (found["progress"], found["state"]["job_count"], found["current_task"]) == (0, 0, None)
    assert sdapi.post("interrupt") == {}
    assert sdapi.post("skip") is None


def test_progress_is_told_and_shown(sdapi: Sdapi, call: Call, slow: Callable[[float], None]) -> None:
    slow(0.02)
    with ThreadPoolExecutor(1) as threads:
        fields = call(steps=60, n_iter=2, denoising_strength=1, force_task_id="mine")
        waiting = threads.submit(sdapi.post, "img2img", **fields)
        shown = sdapi.until(lambda found: found["current_image"] is not None)
        assert shown["current_task"] == "mine"
        assert (shown["state"]["job_count"], shown["state"]["sampling_steps"]) == (2, 60)
        assert Image.open(BytesIO(base64.b64decode(shown["current_image"]))).size == (56, 40)
        assert sdapi.get("progress", skip_current_image=True)["current_image"] is None
        later = sdapi.until(lambda found: found["progress"] > shown["progress"])
        assert later["eta_relative"] > 0
        asked = {"id_task": "mine", "id_live_preview": -1, "live_preview": True}
        internal = sdapi.client.post("/internal/progress", json=asked).json()
        assert internal["active"]
        assert internal["live_preview"].startswith("data:image/png;base64,")
        assert sdapi.client.get("/internal/pending-tasks").json() == {"size": 1, "tasks": ["mine"]}
        assert "in use" in sdapi.refused("img2img", 409, **fields)
        assert len(waiting.result()["images"]) == 2
    assert sdapi.client.post("/internal/progress", json={"id_task": "mine"}).json()["completed"]
    assert sdapi.get("progress")["progress"] == 0


def test_an_interrupted_call_gives_what_is_finished(sdapi: Sdapi, call: Call, slow: Callable[[float], None]) -> None:
    slow(0.01)
    with ThreadPoolExecutor(1) as threads:
        loops = {"script_name": "loopback", "script_args": [30, 0.5, "Linear", "None"]}
        waiting = threads.submit(sdapi.post, "img2img", **call(steps=20), **loops)
        sdapi.until(lambda found: found["progress"] > 0.1)
        assert sdapi.post("interrupt") == {}
        answer = waiting.result()
        assert 1 <= len(answer["images"]) < 30
        assert len(info(answer)["all_seeds"]) == len(answer["images"])
        waiting = threads.submit(sdapi.post, "txt2img", **call(steps=500))
        sdapi.until(lambda found: found["progress"] > 0.02)
        assert sdapi.post("skip") is None
        assert waiting.result()["images"] == []


def test_callers_do_not_reach_one_another(connect: Connect, call: Call, slow: Callable[[float], None]) -> None:
    one = connect({"authorization": f"Bearer {KEYS['one']}"}, api_keys=tuple(KEYS.values()))
    two = Sdapi(type(one.client)(one.client.app, headers={"x-api-key": KEYS["two"]}))
    slow(0.01)
    with ThreadPoolExecutor(2) as threads:
        fields = call(steps=100, denoising_strength=1)
        mine = threads.submit(one.post, "img2img", **fields, force_task_id="same")
        other = threads.submit(two.post, "img2img", **fields)
        one.until(lambda found: found["progress"] > 0.05)
        two.until(lambda found: found["progress"] > 0.05)
        assert two.get("progress", id_task="same")["progress"] == 0
        two.client.post("/sdapi/v1/interrupt", params={"id_task": "same"})
        assert two.post("interrupt") == {}
        assert other.result()["images"] == []
        assert len(mine.result()["images"]) == 1
    assert two.post("options", CLIP_stop_at_last_layers=2) is None
    assert two.get("options")["CLIP_stop_at_last_layers"] == 2
    assert one.get("options")["CLIP_stop_at_last_layers"] == 1


def test_a_key_comes_by_http_basic(connect: Connect) -> None:
    sdapi = connect(api_keys=tuple(KEYS.values()))
    response = sdapi.client.get("/sdapi/v1/samplers")
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Basic ")
    assert set(response.json()) == {"error", "detail", "body", "errors"}
    assert sdapi.client.get("/v1/models").headers["www-authenticate"] == "Bearer"
    assert sdapi.client.get("/sdapi/v1/samplers", auth=("anybody", KEYS["one"])).status_code == 200
    for wrong in ("Basic", "Basic ???", "Basic /w==", f"Basic {KEYS['one']}"):
        assert sdapi.client.get("/sdapi/v1/samplers", headers={"authorization": wrong}).status_code == 401
    assert sdapi.client.get("/sdapi/v1/samplers", auth=(KEYS["one"], "")).status_code == 401


def test_options_are_a_callers_own(sdapi: Sdapi, call: Call, lone: Pipeline, file: bytes) -> None:
    shown = sdapi.get("options")
    assert shown["sd_model_checkpoint"].startswith("fake [")
    assert sdapi.post("options", **shown) is None
    assert "made_up" in sdapi.refused("options", 400, made_up=1)
    assert "checkpoint" in sdapi.refused("options", 400, sd_model_checkpoint="other")
    assert "return_grid" in sdapi.refused("options", 400, return_grid=True)
    sdapi.post("options", randn_source="CPU", samples_format="webp", sd_model_checkpoint="fake")
    usual: Json = {"convention": "a1111", "sampler": "euler_a", "steps": 10, "guidance_scale": 7.0, "seed": 3}
    answer = sdapi.post("img2img", **call())
    made = lone(file, "a", strength=0.5, size=(56, 40), resize_mode="stretch", noise="cpu", **usual)
    opened = Image.open(BytesIO(base64.b64decode(answer["images"][0])))
    assert opened.format == "WEBP"
    png_ = sdapi.post("img2img", **call(override_settings={"samples_format": "png"}))
    assert np.array_equal(pictures(png_)[0], np.asarray(made.images[0]))
    assert sdapi.get("options")["samples_format"] == "webp"
    kept = call(override_settings={"samples_format": "png"}, override_settings_restore_afterwards=False)
    sdapi.post("img2img", **kept)
    assert sdapi.get("options")["samples_format"] == "png"


def test_extras_enlarge(sdapi: Sdapi, file: bytes) -> None:
    made = sdapi.post("extra-single-image", image=text(file), upscaler_1="Lanczos", upscaling_resize=3)
    assert pictures({"images": [made["image"]]})[0].shape == (120, 168, 3)
    assert "Lanczos" in made["html_info"]
    sized = {"resize_mode": 1, "upscaling_resize_w": 64, "upscaling_resize_h": 64}
    mixed = {"upscaler_1": "Nearest", "upscaler_2": "Lanczos", "extras_upscaler_2_visibility": 0.5}
    listed = [{"data": text(file), "name": "a"}, {"data": f"data:image/png;base64,{text(file)}", "name": "b"}]
    several = sdapi.post("extra-batch-images", imageList=listed, **sized, **mixed)
    assert [each.shape for each in pictures(several)] == [(64, 64, 3)] * 2
    assert pictures({"images": [sdapi.post("extra-single-image", image=text(file))["image"]]})[0].shape == (40, 56, 3)
    for wrong, words in (
        ({"upscaler_1": "ESRGAN"}, "upscaler"),
        ({"gfpgan_visibility": 1}, "gfpgan"),
        ({"upscaler_1": "Lanczos", "upscaling_resize": 99}, "upscaling_resize"),
        ({"image": "%%%"}, "Invalid encoded image"),
    ):
        assert words in sdapi.refused("extra-single-image", 400, **{"image": text(file), **wrong})
    assert "imageList" in sdapi.refused("extra-batch-images", 422, imageList=[])


def test_png_info_is_what_was_written(sdapi: Sdapi, call: Call) -> None:
    answer = sdapi.post("img2img", **call(negative_prompt="q"))
    found = sdapi.post("png-info", image=answer["images"][0])
    assert found["info"] == info(answer)["infotexts"][0]
    parsed = found["parameters"]
    assert (parsed["Prompt"], parsed["Negative prompt"], parsed["Seed"]) == ("a", "q", "3")
    assert (parsed["Size-1"], parsed["Size-2"]) == ("56", "40")
    bare = sdapi.post("png-info", image=text(png(np.zeros((8, 8, 3), np.uint8))))
    assert bare == {"info": "", "items": {}, "parameters": {}}


def test_lists_say_what_there_is(sdapi: Sdapi) -> None:
    assert "Euler a" in [each["name"] for each in sdapi.get("samplers")]
    assert sdapi.get("schedulers")[0]["name"] == "automatic"
    assert [each["name"] for each in sdapi.get("upscalers")] == ["None", "Lanczos", "Nearest"]
    (model,) = sdapi.get("sd-models")
    assert model["title"] == f"fake [{model['sha256'][:10]}]"
    assert sdapi.get("embeddings") == {"loaded": {}, "skipped": {}}
    assert sdapi.get("memory")["ram"]["total"] > 0
    assert sdapi.get("cmd-flags")["api"]
    names = {each["name"] for each in sdapi.get("script-info")}
    assert names == {*sdapi.get("scripts")["img2img"], *sdapi.get("scripts")["txt2img"]}
    for name in ("sd-vae", "latent-upscale-modes", "hypernetworks", "prompt-styles", "loras", "face-restorers"):
        assert sdapi.get(name) == []
    for name in ("refresh-checkpoints", "refresh-vae", "refresh-embeddings", "refresh-loras"):
        assert sdapi.post(name) is None
    assert sdapi.post("unload-checkpoint") == sdapi.post("reload-checkpoint") == {}
    assert "interrogate" in sdapi.refused("interrogate", 404, image="")


def test_every_sampler_and_scheduler_of_the_lists_runs(sdapi: Sdapi, call: Call) -> None:
    for sampler in sdapi.get("samplers"):
        for name in (sampler["name"], *sampler["aliases"]):
            assert len(sdapi.post("txt2img", **call(steps=3, sampler_name=name))["images"]) == 1
    for scheduler in sdapi.get("schedulers"):
        for name in (scheduler["name"], scheduler["label"]):
            assert len(sdapi.post("txt2img", **call(steps=4, scheduler=name))["images"]) == 1


def test_a_full_queue_is_told_in_its_shape(connect: Connect, call: Call, slow: Callable[[float], None]) -> None:
    sdapi = connect(queue_limit=1)
    slow(0.02)
    with ThreadPoolExecutor(1) as threads:
        waiting: Any = threads.submit(sdapi.post, "txt2img", **call(steps=40))
        sdapi.until(lambda found: found["progress"] > 0.01)
        response = sdapi.client.post("/sdapi/v1/txt2img", json=call())
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1
        assert set(response.json()) == {"error", "detail", "body", "errors"}
        waiting.result()
