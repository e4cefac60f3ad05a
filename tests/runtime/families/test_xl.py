"""SDXL's family against diffusers' pipelines with the same weights, seed and steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import overpaint
from overpaint.engines.compare import psnr
from overpaint.errors import InputError
from tests.support.families import MASK, PHOTO, SMALL, peer_of, variant, xl_checkpoint
from tests.support.torch_engine import torch_pipeline

PROMPT = "a photo of the red fox"
STEPS = {"strength": 0.6, "num_inference_steps": 6, "guidance_scale": 5.0}
Pair = tuple[overpaint.Pipeline, Any]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return xl_checkpoint(tmp_path_factory.mktemp("xl") / "checkpoint", **SMALL)


@pytest.fixture(scope="module")
def pair(checkpoint: Path) -> Pair:
    return torch_pipeline(checkpoint, checkpoint.with_name("bundle")), peer_of(checkpoint)


@pytest.fixture(scope="module")
def refiner(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    checkpoint = xl_checkpoint(tmp_path_factory.mktemp("refiner") / "checkpoint", refiner=True, **SMALL)
    return torch_pipeline(checkpoint, checkpoint.with_name("bundle")), peer_of(checkpoint)


def compare(pair: Pair, ours: dict[str, Any] | None = None, **theirs: Any) -> float:
    pipe, peer = pair
    options = {**STEPS, **{name: theirs.pop(name) for name in set(theirs) & set(STEPS)}}
    negative = theirs.pop("negative_prompt", None)
    generator = torch.Generator().manual_seed(3)
    wanted = peer(PROMPT, image=PHOTO, negative_prompt=negative, generator=generator, **options, **theirs).images[0]
    made = pipe(
        PHOTO, PROMPT, negative_prompt=negative, seed=3, convention="diffusers", **options, **(ours or {})
    ).images[0]
    return psnr(made, wanted)


THEIR_SIZES = {"original_size": (512, 700), "crops_coords_top_left": (160, 320), "target_size": (1024, 900)}
OUR_SIZES = {"original_size": (700, 512), "crop_top": 160, "crop_left": 320, "target_size": (900, 1024)}


@pytest.mark.parametrize("negative", [None, "ink style"])
def test_a_picture_is_diffusers_picture(pair: Pair, negative: str | None) -> None:
    assert compare(pair, negative_prompt=negative) >= 50


def test_without_guidance(pair: Pair) -> None:
    assert compare(pair, guidance_scale=1.0) >= 50


def test_sizes_and_crop(pair: Pair) -> None:
    assert compare(pair, OUR_SIZES, **THEIR_SIZES, negative_prompt="ink style") >= 50
    assert compare(pair, {}, **THEIR_SIZES, negative_prompt="ink style") < 50


def test_an_empty_negative_prompt_as_text(pair: Pair) -> None:
    assert compare(pair, {"empty_negative": "text"}, negative_prompt="") >= 50
    assert compare(pair, {}, negative_prompt="") < 50


@pytest.mark.parametrize(("convention", "zeros"), [("contract", True), ("a1111", True), ("comfy", False)])
def test_programs_differ_on_an_empty_negative_prompt(pair: Pair, convention: str, zeros: bool) -> None:
    pipe, _ = pair
    common = {"seed": 1, "steps": 3, "strength": 0.6, "sampler": "euler", "convention": convention}
    own, as_zeros, as_text = (
        np.asarray(pipe(PHOTO, PROMPT, empty_negative=what, **common).images[0]) for what in (None, "zeros", "text")
    )
    assert np.array_equal(own, as_zeros if zeros else as_text)
    assert not np.array_equal(as_zeros, as_text)


def test_the_refiner_takes_scores(refiner: Pair) -> None:
    scores = {"aesthetic_score": 9.0, "negative_aesthetic_score": 1.0}
    assert compare(refiner) >= 50
    assert compare(refiner, scores, **scores, negative_prompt="ink style") >= 50
    assert compare(refiner, {}, **scores, negative_prompt="ink style") < 50


@pytest.mark.parametrize("channels", [4, 9])
def test_inpainting(checkpoint: Path, tmp_path: Path, channels: int) -> None:
    index = {"_class_name": "StableDiffusionXLInpaintPipeline"}
    folder = variant(checkpoint, tmp_path / "checkpoint", index=index, in_channels=channels)
    pipe, peer = torch_pipeline(folder, tmp_path / "bundle"), peer_of(folder)
    generator = torch.Generator().manual_seed(3)
    wanted = peer(
        PROMPT, image=PHOTO, mask_image=MASK, generator=generator, width=PHOTO.width, height=PHOTO.height, **STEPS
    ).images[0]
    made = pipe.inpaint(
        PHOTO, MASK, PROMPT, seed=3, convention="diffusers", latent_mask="diffusers", blur=0, ring=0, **STEPS
    ).images[0]
    assert psnr(masked(made), masked(wanted)) >= 50


def masked(image: Image.Image) -> Image.Image:
    """The image with the photo outside the mask: that is where ours is exact and diffusers' is not."""
    return Image.composite(image, PHOTO, MASK)


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"aesthetic_score": 7.0}, "aesthetic_score", "refiner"),
    ({"image_guidance_scale": 2.0}, "image_guidance_scale", "InstructPix2Pix"),
    ({"depth": overpaint.DepthMap(np.zeros((48, 64), np.uint8))}, "depth", "depth map"),
]


@pytest.mark.parametrize(("options", "field", "words"), BAD, ids=lambda value: str(value)[:20])
def test_what_is_of_another_family_is_refused_by_name(
    pair: Pair, options: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(InputError, match=words) as raised:
        pair[0](PHOTO, PROMPT, **options)
    assert raised.value.field == field


def test_sizes_are_refused_by_models_without_them() -> None:
    with pytest.raises(InputError, match="SDXL") as raised:
        overpaint.load("tiny")(PHOTO, "fox", original_size=(64, 64))
    assert raised.value.field == "original_size"


def test_the_refiner_has_no_target_size(refiner: Pair) -> None:
    with pytest.raises(InputError, match="base models"):
        refiner[0](PHOTO, PROMPT, target_size=(64, 64))


def test_info_says_what_it_takes(pair: Pair) -> None:
    words = pair[0].bundle.describe()
    assert "stable-diffusion-xl" in words
    assert "original_height, original_width" in words
    assert "time_ids: float32 [rows, 6]" in words
