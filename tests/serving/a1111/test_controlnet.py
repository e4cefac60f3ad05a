"""sd-webui-controlnet's units and routes, on a fake model that takes ControlNets and image prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

import overpaint
from overpaint import Control, ImagePrompt, InputError, Pipeline, from_infotext
from overpaint.serving.a1111.units import find_model
from overpaint.serving.adapters import lend
from overpaint.serving.app import create_app
from overpaint.serving.service import Service
from overpaint.serving.settings import Settings
from tests.serving.a1111.conftest import Json, Sdapi, info, pictures
from tests.serving.conftest import QUICK, png, text
from tests.support.bundles import fake_bundle, fake_controlnet, fake_image_prompt
from tests.support.hint_models import hint_model

Call = Callable[..., Json]
A1111: Json = {"convention": "a1111", "sampler": "euler_a", "steps": 10, "guidance_scale": 7.0, "seed": 3}
USUAL: Json = {**A1111, "strength": 0.5, "size": (56, 40), "resize_mode": "stretch"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("units")
    fake_bundle(made / "bundle", control=True, image=True)
    fake_controlnet(made / "lines")
    fake_controlnet(made / "depth")
    fake_image_prompt(made / "style")
    hint_model(made / "far.onnx")
    return made


@pytest.fixture(scope="module")
def sdapi(folder: Path) -> Iterator[Sdapi]:
    adapters = {
        "controlnets": (str(folder / "lines"), str(folder / "depth")),
        "image_prompt_adapters": (str(folder / "style"),),
        "preprocessors": (f"depth_midas={folder / 'far.onnx'}",),
    }
    settings = Settings(**{**QUICK, **adapters})
    model = overpaint.load(folder / "bundle", engine="fake").model
    lend({"fake": model}, settings)
    with TestClient(create_app(Service({"fake": model}, settings)), raise_server_exceptions=False) as client:
        while client.get("/readyz").status_code != 200:
            pass
        yield Sdapi(client)


@pytest.fixture(scope="module")
def lone(folder: Path) -> Pipeline:
    nets = {name: folder / name for name in ("lines", "depth")}
    adapters = {"style": folder / "style"}
    far = {"depth_midas": folder / "far.onnx"}
    return overpaint.load(
        folder / "bundle", engine="fake", controlnets=nets, image_prompt_adapters=adapters, preprocessors=far
    )


@pytest.fixture
def units(call: Call) -> Call:
    """Makes the fields of an img2img with units."""

    def made(*given: Any, **fields: Any) -> Json:
        return call(alwayson_scripts={"ControlNet": {"args": list(given)}}, **fields)

    return made


@pytest.fixture
def hint(picture: Any) -> bytes:
    return png(picture[::-1])


def same(made: Any, expected: Any) -> bool:
    return np.array_equal(made, np.asarray(expected))


@pytest.mark.parametrize(
    ("unit", "control"),
    [
        ({}, {}),
        ({"model": "lines", "weight": 0.5, "guidance_start": 0.2, "guidance": 0.8},
         {"weight": 0.5, "start": 0.2, "end": 0.8}),
        ({"control_mode": 1, "resize_mode": 0}, {"mode": "prompt", "fit": "stretch"}),
        ({"control_mode": "ControlNet is more important", "resize_mode": "Resize and Fill", "lowvram": True},
         {"mode": "control", "fit": "pad"}),
        ({"resize_mode": "Outer Fit (Shrink to Fit)", "guidance_end": 0.5}, {"fit": "pad", "end": 0.5}),
        ({"module": "canny", "processor_res": 64, "threshold_a": 20, "threshold_b": 60},
         {"preprocessor": "canny", "resolution": 64, "thresholds": (20, 60)}),
        ({"module": "canny", "pixel_perfect": True}, {"preprocessor": "canny"}),
        ({"module": "lineart_standard (from white bg & black line)", "threshold_a": 64},
         {"preprocessor": "lineart_standard", "resolution": 512}),
        ({"module": "depth_midas", "processor_res": 96}, {"preprocessor": "onnx:depth_midas", "resolution": 96}),
        ({"module": "tile_resample", "processor_res": 512, "threshold_a": 2},
         {"preprocessor": "tile_resample", "thresholds": (2,)}),
    ],
)  # fmt: skip
def test_a_unit_is_a_control(
    unit: Json, control: Json, sdapi: Sdapi, units: Call, lone: Pipeline, file: bytes, hint: bytes
) -> None:
    usual = {
        "enabled": True,
        "module": "none",
        "model": sdapi.client.get("/controlnet/model_list").json()["model_list"][1],
    }
    answer = sdapi.post("img2img", **units({**usual, "input_image": text(hint), "save_detected_map": False, **unit}))
    expected = lone(
        file, "a", **USUAL, controls=[Control("lines", hint, **{"preprocessor": "none", "resolution": 0, **control})]
    )
    [made] = pictures(answer)
    assert same(made, expected.images[0])
    assert info(answer)["notes"] == []
    assert info(answer)["infotexts"][0].count("ControlNet 0: ") == 1


def test_without_an_image_the_picture_is_followed(sdapi: Sdapi, units: Call, lone: Pipeline, file: bytes) -> None:
    unit = {"model": "lines", "module": "canny", "pixel_perfect": True, "image": ""}
    made, edges = pictures(sdapi.post("img2img", **units(unit)))
    expected = lone(file, "a", **USUAL, controls=[Control("lines", preprocessor="canny")])
    assert same(made, expected.images[0])
    assert set(np.unique(edges)) == {0, 255}
    assert edges.shape == (40, 56, 3)


def test_the_infotext_makes_the_picture_again(sdapi: Sdapi, units: Call, lone: Pipeline, file: bytes) -> None:
    unit = {
        "model": "lines",
        "module": "canny",
        "processor_res": 64,
        "threshold_a": 30,
        "weight": 0.7,
        "control_mode": 2,
    }
    answer = sdapi.post("img2img", **units(unit, {**unit, "model": "depth", "enabled": False}))
    [wanted] = info(answer)["infotexts"]
    assert "Processor Res: 64, Threshold A: 30, Threshold B: 200," in wanted
    assert "Control Mode: ControlNet is more important" in wanted
    assert "ControlNet 1" not in wanted
    infotext = from_infotext(f"{wanted}\n")
    again = lone(file, **{**infotext.options, "resize_mode": "stretch"})
    assert same(pictures(answer)[0], again.images[0])


def test_pictures_of_ip_adapters_are_image_prompts(
    sdapi: Sdapi, units: Call, lone: Pipeline, file: bytes, hint: bytes, mask_file: bytes
) -> None:
    unit = {"module": "ip-adapter_clip_sd15", "model": "style", "weight": 0.6, "guidance_end": 0.9}
    images = [{"image": text(hint)}, {"image": text(file)}]
    fields = units({**unit, "image": images, "effective_region_mask": text(mask_file)})
    [made] = pictures(sdapi.post("img2img", **fields))
    mask = np.zeros((40, 56), np.uint8)
    mask[:, 28:] = 255
    prompts = tuple(ImagePrompt(data, 0.6, end=0.9, mask=mask) for data in (hint, file))
    assert same(made, lone(file, "a", **USUAL, image_prompts=prompts).images[0])
    assert not same(made, lone(file, "a", **USUAL).images[0])


def test_other_calls_have_units(sdapi: Sdapi, units: Call, hint: bytes, mask_file: bytes) -> None:
    unit = {"model": "lines", "module": "canny", "image": {"image": text(hint), "mask": None}}
    assert len(pictures(sdapi.post("txt2img", **units(unit)))) == 2
    assert len(pictures(sdapi.post("txt2img", **units(unit, enable_hr=True, hr_upscaler="Lanczos")))) == 2
    assert len(pictures(sdapi.post("img2img", **units(unit, batch_size=2)))) == 3
    inpaint = {"model": "lines", "module": "inpaint_only"}
    for full in (True, False):
        assert len(pictures(sdapi.post("img2img", **units(inpaint, mask=text(mask_file), inpaint_full_res=full)))) == 2
    upscale = {"script_name": "Ultimate SD upscale", "script_args": ["", 32, 0, 4, 8], "width": 112, "height": 80}
    tile = {"model": "lines", "module": "tile_resample"}
    assert [made.shape for made in pictures(sdapi.post("img2img", **units(tile, **upscale)))] == [(80, 112, 3)]


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ({"model": "shades [12345678]"}, "unknown ControlNet"),
        ({"model": "None"}, "names no model"),
        ({"model": "../lines"}, "unknown ControlNet"),
        ({"module": "onnx:far.onnx"}, "no preprocessor"),
        ({"module": "openpose"}, "give the picture that it made and the preprocessor none"),
        ({"module": "ip-adapter_face_id"}, "no preprocessor"),
        ({"module": "ip-adapter_clip_sd15"}, "unknown image-prompt adapter"),
        ({"module": 3}, "module is no text"),
        ({"weight": 3}, "weight"),
        ({"weight": "much"}, "weight is no number"),
        ({"guidance_start": 0.9, "guidance_end": 0.1}, "start first"),
        ({"control_mode": 3}, "control_mode"),
        ({"resize_mode": "Shrink"}, "resize_mode"),
        ({"mask": "x"}, "mask"),
        ({"mask_image": "x"}, "mask"),
        ({"image": ["x", "y"]}, "mask"),
        ({"image": "%%%"}, "Invalid encoded image"),
        ({"image": [{"image": "%%%"}]}, "Invalid encoded image"),
        ({"image": "/etc/passwd"}, "Invalid encoded image"),
        ({"advanced_weighting": [1.0] * 13}, "advanced_weighting"),
        ({"effective_region_mask": "x"}, "effective_region_mask"),
        ({"ipadapter_input": ["x"]}, "ipadapter_input"),
        ({"inpaint_crop_input_image": False}, "inpaint_crop_input_image"),
    ],
)  # fmt: skip
def test_what_is_not_served_is_refused_by_name(unit: Json, words: str, sdapi: Sdapi, units: Call) -> None:
    usual = {"enabled": True, "module": "none", "model": "lines"}
    response = sdapi.client.post("/sdapi/v1/img2img", json=units({**usual, **unit}))
    assert response.status_code in (400, 422)
    assert words in response.json()["detail"]


def test_what_cannot_be_is_refused(sdapi: Sdapi, units: Call, hint: bytes) -> None:
    unit = {"model": "lines"}
    assert "no image" in sdapi.refused("txt2img", 400, **units(unit))
    assert "9 ControlNet units" in sdapi.refused("img2img", 400, **units(*[unit] * 9))
    twice = {**unit, "image": text(hint), "hr_option": "Low res only"}
    fields = units(twice, enable_hr=True, hr_upscaler="Lanczos")
    assert "hr_option" in sdapi.refused("txt2img", 400, **fields)
    assert sdapi.post("txt2img", **units(twice))["images"]
    several = {**unit, "image": [{"image": text(hint)}] * 2}
    assert "several images" in sdapi.refused("img2img", 400, **units(several))


def test_a_threshold_out_of_its_range_is_the_usual_one(sdapi: Sdapi, units: Call) -> None:
    answer = sdapi.post("img2img", **units({"model": "lines", "module": "tile_resample", "threshold_a": 64}))
    assert "Threshold A: 1," in info(answer)["infotexts"][0]
    assert any("tile_resample: its down-sampling rate is 1 to 8" in note for note in info(answer)["notes"])


def test_lists(sdapi: Sdapi) -> None:
    def get(path: str) -> Any:
        response = sdapi.client.get(f"/controlnet/{path}")
        assert response.status_code == 200, response.text
        return response.json()

    assert get("version") == {"version": 3}
    assert get("settings") == {"control_net_unit_count": 8}
    models = get("model_list")["model_list"]
    assert [each.split(" [")[0] for each in models] == ["depth", "lines", "style"]
    modules = get("module_list?alias_names=true")
    assert {"none", "canny", "inpaint_only", "depth_midas", "ip-adapter_clip_sd15"} <= set(modules["module_list"])
    sliders = modules["module_detail"]["canny"]["sliders"]
    assert [(each["name"], each["value"]) for each in sliders] == [
        ("Resolution", 512), ("Low threshold", 100), ("High threshold", 200),
    ]  # fmt: skip
    types = get("control_types")["control_types"]
    assert types["All"]["model_list"] == ["None", *models]
    assert (types["Canny"]["default_option"], types["Canny"]["default_model"]) == ("canny", "None")
    assert "controlnet" in sdapi.get("scripts")["txt2img"]


def test_detect(sdapi: Sdapi, file: bytes, hint: bytes, mask_file: bytes, lone: Pipeline) -> None:
    def detect(**fields: Any) -> Any:
        return sdapi.client.post("/controlnet/detect", json=fields)

    answer = detect(controlnet_module="canny", controlnet_input_images=[text(file), text(hint)]).json()
    assert answer["info"] == "Success"
    assert [made.shape for made in pictures(answer)] == [(512, 717, 3)] * 2
    for module, size in (("none", (40, 56, 3)), ("depth_midas", (64, 96, 3))):
        options = {"controlnet_module": module, "controlnet_images": [text(file)], "controlnet_processor_res": 64}
        assert pictures(detect(**options).json())[0].shape[:1] == size[:1]
    masked = detect(
        controlnet_module="inpaint", controlnet_input_images=[text(file)], controlnet_masks=[text(mask_file)]
    )
    [made] = pictures(masked.json())
    assert made[:, :28].any()
    assert not made[:, 28:].any()
    for wrong, words in (
        ({"controlnet_module": "openpose", "controlnet_input_images": [text(file)]}, "Module not available"),
        ({"controlnet_module": "onnx:far.onnx", "controlnet_input_images": [text(file)]}, "Module not available"),
        ({"controlnet_module": "canny"}, "No image selected"),
        ({"controlnet_module": "inpaint", "controlnet_input_images": [text(file)]}, "controlnet_masks"),
        ({"controlnet_input_images": "x"}, "controlnet_input_images"),
    ):
        response = detect(**wrong)
        assert response.status_code == 422
        assert words in response.json()["detail"]


def test_models_are_found_by_name_and_by_hash() -> None:
    offered = {"edges": "0123456789", "depth [v2]": "abcdef0123"}
    for title in ("edges", "Edges [01234567]", " edges  ", "renamed [0123]", "[0123]"):
        assert find_model("ControlNet", title, offered) == "edges"
    assert find_model("ControlNet", "depth [v2]", offered) == "depth [v2]"
    for title in ("None", " ", "pose", "pose [9999]", "a" + " " * 10**6 + "x"):
        with pytest.raises(InputError, match=r"edges \[01234567\]"):
            find_model("ControlNet", title, offered)
