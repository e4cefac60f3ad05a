"""Img2img, inpainting, txt2img and scripts of A1111's interface, beside the same made without it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

import overpaint
from overpaint import Pipeline, Request
from overpaint.runtime.requests.places import InpaintMask
from tests.serving.a1111.conftest import Json, Sdapi, info, pictures
from tests.serving.conftest import png, text

Call = Callable[..., Json]
A1111: Json = {"convention": "a1111", "sampler": "euler_a", "steps": 10, "guidance_scale": 7.0, "seed": 3}


def same(made: Any, expected: Any) -> bool:
    return np.array_equal(made, np.asarray(expected))


def test_img2img_is_that_of_the_convention(sdapi: Sdapi, call: Call, lone: Pipeline, file: bytes) -> None:
    answer = sdapi.post("img2img", **call(batch_size=2, n_iter=2, tiling=False, nonsense=1, styles=None))
    expected = lone(file, "a", strength=0.5, n=4, size=(56, 40), resize_mode="stretch", **A1111)
    assert [same(*pair) for pair in zip(pictures(answer), expected.images, strict=True)] == [True] * 4
    said = info(answer)
    assert said["all_seeds"] == [3, 4, 5, 6]
    assert said["sampler_name"] == "Euler a"
    assert said["all_prompts"] == ["a"] * 4
    assert (said["width"], said["height"], said["denoising_strength"]) == (56, 40, 0.5)
    assert said["notes"] == []
    file_ = Image.open(BytesIO(base64.b64decode(answer["images"][1])))
    assert file_.info["parameters"] == said["infotexts"][1]
    assert "Seed: 4" in said["infotexts"][1]
    assert answer["parameters"]["init_images"] is None
    assert answer["parameters"]["sampler_index"] == "Euler"
    assert sdapi.post("img2img", **call(include_init_images=True))["parameters"]["init_images"] == [text(file)]


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"sampler_name": None, "sampler_index": "DDIM", "eta": 0.5}, {"sampler": "ddim", "eta": 0.5}),
        ({"sampler_name": "DPM++ 2M Karras"}, {"sampler": "dpmpp_2m", "schedule": "karras"}),
        ({"sampler_name": "k_lms", "scheduler": "sgm_uniform", "eta": 1}, {"sampler": "LMS SGM Uniform"}),
        ({"sampler_name": "Heun", "scheduler": "Automatic"}, {"sampler": "heun"}),
        ({"subseed": 9, "subseed_strength": 0.3}, {"variation_seed": 9, "variation_strength": 0.3}),
        ({"seed_resize_from_w": 32, "seed_resize_from_h": 32}, {"seed_resize_from": (32, 32)}),
        ({"negative_prompt": "q", "cfg_scale": "3"}, {"negative_prompt": "q", "guidance_scale": 3.0}),
        ({"override_settings": {"randn_source": "CPU"}}, {"noise": "cpu"}),
        ({"override_settings": {"eta_noise_seed_delta": 31337}}, {"eta_noise_seed_delta": 31337}),
        ({"width": 48, "height": 48, "resize_mode": 1}, {"size": (48, 48), "resize_mode": "crop"}),
        ({"width": 64, "height": 64, "resize_mode": 2}, {"size": (64, 64), "resize_mode": "pad"}),
    ],
)  # fmt: skip
def test_fields_are_options(fields: Json, options: Json, sdapi: Sdapi, call: Call, lone: Pipeline, file: bytes) -> None:
    answer = sdapi.post("img2img", **call(**fields))
    usual: Json = {**A1111, "strength": 0.5, "size": (56, 40), "resize_mode": "stretch"}
    assert same(pictures(answer)[0], lone(file, "a", **{**usual, **options}).images[0])
    assert info(answer)["notes"] == []


def test_several_pictures_are_a_batch(sdapi: Sdapi, call: Call, lone: Pipeline, file: bytes, mask_file: bytes) -> None:
    answer = sdapi.post("img2img", **call(init_images=[text(file), text(mask_file)], n_iter=2))
    files = [file, mask_file] * 2
    expected = lone(files, "a", strength=0.5, size=(56, 40), resize_mode="stretch", **A1111)
    assert [same(*pair) for pair in zip(pictures(answer), expected.images, strict=True)] == [True] * 4


def test_txt2img_begins_with_noise_alone(sdapi: Sdapi, call: Call, lone: Pipeline) -> None:
    answer = sdapi.post("txt2img", **call(denoising_strength=0.2))
    grey = overpaint.read(np.full((40, 56, 3), 127, np.uint8))
    white = overpaint.read(np.full((40, 56, 3), 255, np.uint8))
    mask = InpaintMask(np.full((40, 56), 255, np.uint8), content="nothing")
    for picture in (grey, white):
        made = lone.run([Request(picture, "a", strength=1.0, inpaint_mask=mask, **A1111)])
        for _ in made:
            pass
        assert same(pictures(answer)[0], made.result().images[0])


@pytest.mark.parametrize("fill", range(4))
def test_inpainting_is_that_of_the_convention(
    fill: int, sdapi: Sdapi, call: Call, lone: Pipeline, file: bytes, mask_file: bytes
) -> None:
    fields = {"mask": text(mask_file), "mask_blur": 2, "inpainting_fill": fill, "inpaint_full_res_padding": 8}
    answer = sdapi.post("img2img", **call(**fields))
    content = ("fill", "original", "noise", "nothing")[fill]
    options = {"content": content, "blur": (2.0, 2.0), "only_masked": True, "padding": 8, "size": (56, 40)}
    made = lone.inpaint(file, mask_file, "a", strength=0.5, **options, **A1111)
    assert same(pictures(answer)[0], made.images[0])
    assert answer["parameters"]["mask"] is None


def test_a_mask_is_read_as_there(sdapi: Sdapi, call: Call, mask_file: bytes) -> None:
    plain = {"mask_blur": 0, "inpainting_fill": 1, "inpaint_full_res": False}
    expected = pictures(sdapi.post("img2img", **call(mask=text(mask_file), **plain)))[0]
    levels = np.asarray(Image.open(BytesIO(mask_file)))
    opaque = png(np.dstack([levels * 0, levels * 0, levels * 0, levels]))
    assert same(pictures(sdapi.post("img2img", **call(mask=text(opaque), **plain)))[0], expected)
    inverted = call(mask=text(png(255 - levels)), inpainting_mask_invert=1, **plain)
    assert same(pictures(sdapi.post("img2img", **inverted))[0], expected)
    other = pictures(sdapi.post("img2img", **call(mask=text(mask_file), **plain, width=80, height=64)))[0]
    assert other.shape == (64, 80, 3)


def test_soft_inpainting_runs(sdapi: Sdapi, call: Call, lone: Pipeline, file: bytes, mask_file: bytes) -> None:
    soft = {"Soft Inpainting": {"args": [True, 1, 0.5, 4, 0, 0.25, 2]}}
    fields = {"mask": text(mask_file), "mask_blur": 4, "inpainting_fill": 1, "inpaint_full_res": False}
    answer = sdapi.post("img2img", **call(**fields, alwayson_scripts=soft))
    made = lone.inpaint(file, mask_file, "a", strength=0.5, blur=4.0, levels="soft", soft_threshold=0.25, **A1111)
    assert same(pictures(answer)[0], made.images[0])


def test_loopback_gives_every_loop(sdapi: Sdapi, call: Call, lone: Pipeline, file: bytes) -> None:
    answer = sdapi.post("img2img", **call(n_iter=2), script_name="Loopback", script_args=[2, 0.3, "Linear", "None"])
    options = {**A1111, "size": (56, 40), "resize_mode": "stretch"}
    expected, seed = [], 3
    for _ in range(2):
        image: Any = file
        for strength in (0.5, 0.3):
            image = lone(image, "a", **{**options, "seed": seed}, strength=strength).images[0]
            expected.append(image)
            seed += 1
    assert [same(*pair) for pair in zip(pictures(answer), expected, strict=True)] == [True] * 4
    assert info(answer)["all_seeds"] == [3, 4, 5, 6]


def test_upscales_run_on_the_tools(sdapi: Sdapi, call: Call, lone: Pipeline, file: bytes) -> None:
    answer = sdapi.post("img2img", **call(width=32, height=32), script_name="SD upscale", script_args=["", 8, 1, 2])
    made = lone.upscale(file, "a", strength=0.5, scale=2, tile=32, overlap=8, **A1111)
    assert same(pictures(answer)[0], made.images[0])
    assert "SD upscale" in info(answer)["notes"][0]
    ultimate = ["", 32, 0, 4, 8, 16, 0.35, 8, "Lanczos", True, 1, False, 4, 1, 0]
    answer = sdapi.post(
        "img2img", **call(width=112, height=80), script_name="Ultimate SD upscale", script_args=ultimate
    )
    options = {"method": "tiles", "tile": 32, "mask_blur": 4.0, "padding": 8, "order": "chess", "noise": "gpu"}
    fix = {"seam_fix": "bands", "seam_fix_width": 16, "seam_fix_padding": 8, "seam_fix_blur": 4.0}
    made = lone.upscale(file, "a", strength=0.5, scale=2, seam_fix_strength=0.35, **options, **fix, **A1111)
    assert same(pictures(answer)[0], made.images[0])
    ultimate[14:] = [1, 100, 64]
    nearest = {**call(), "script_name": "ultimate sd upscale", "script_args": [*ultimate[:8], "Nearest", *ultimate[9:]]}
    assert pictures(sdapi.post("img2img", **nearest))[0].shape == (64, 100, 3)


def test_a_plot_is_a_grid(sdapi: Sdapi, call: Call, lone: Pipeline, file: bytes) -> None:
    arguments = [4, "4-8 (+4)", None, "Denoising", "0.3-0.7 [2]", None, 0, "", None, True, True]
    answer = sdapi.post("img2img", **call(), script_name="X/Y/Z plot", script_args=arguments)
    sheet, *cells = pictures(answer)
    assert len(cells) == 4
    options = {**A1111, "size": (56, 40), "resize_mode": "stretch", "steps": 8, "strength": 0.7}
    assert same(cells[-1], lone(file, "a", **options).images[0])
    assert sheet.shape[1] > 112
    assert 'X Values: "4, 8"' in info(answer)["infotexts"][0]
    replaced = [7, "a, q", None, 9 + 1, "", ["Euler", "DDIM"], 0, "", None]
    with pytest.raises(AssertionError, match="Hires sampler"):
        sdapi.post("txt2img", **call(), script_name="x/y/z plot", script_args=[10, "Euler", None])
    replaced[3] = 9
    plotted = sdapi.post("txt2img", **call(), script_name="x/y/z plot", script_args=replaced)
    assert len(pictures(plotted)) == 1


@pytest.mark.parametrize(("strength", "steps"), [(0.5, 0), (0.75, 4), (1.0, 0), (0.13, 3)])
def test_a_second_pass_runs_its_steps(strength: float, steps: int, sdapi: Sdapi, call: Call) -> None:
    hires = {"enable_hr": True, "hr_upscaler": "Nearest", "hr_resize_x": 80, "hr_second_pass_steps": steps}
    call_ = call(denoising_strength=strength, hr_prompt="q", width=40, sampler_name="Euler")
    answer = sdapi.post("txt2img", **call_, **hires)
    assert pictures(answer)[0].shape == (80, 80, 3)
    (said,) = info(answer)["infotexts"]
    assert f"Hires steps: {steps or 10}" in said
    assert f"Denoising strength: {strength:g}," in said
    assert "Size: 40x40" in said
    assert "Hires upscaler: Nearest" in said
