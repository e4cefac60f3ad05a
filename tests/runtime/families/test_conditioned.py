"""Models that see more than latents, against diffusers: InstructPix2Pix by three rows, Stable Diffusion 2 by depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

import overpaint
from overpaint.engines.compare import psnr
from overpaint.errors import InputError
from overpaint.runtime.imaging.depth import depth_latents
from tests.support.checkpoints import tiny_checkpoint
from tests.support.families import PHOTO, SMALL, peer_of, variant
from tests.support.torch_engine import torch_pipeline

PROMPT = "a photo of the red fox"
SD = {name: SMALL[name] for name in ("block_out_channels", "down_block_types", "up_block_types")}
DEPTH = np.add.outer(np.arange(48) * 2, np.arange(64) * 2).astype(np.uint8)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("sd") / "checkpoint", **SD)


@pytest.fixture(scope="module")
def edit(base: Path) -> tuple[overpaint.Pipeline, Any]:
    index = {"_class_name": "StableDiffusionInstructPix2PixPipeline", "image_encoder": [None, None]}
    folder = variant(base, base.with_name("edit"), index=index, in_channels=8)
    return torch_pipeline(folder, base.with_name("edit-bundle")), peer_of(folder)


@pytest.fixture(scope="module")
def deep(base: Path) -> tuple[overpaint.Pipeline, Any]:
    index = {"_class_name": "StableDiffusionDepth2ImgPipeline"}
    folder = variant(base, base.with_name("depth"), index=index, in_channels=5)
    parts = peer_of(variant(base, base.with_name("plain"), in_channels=5)).components
    names = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
    peer = diffusers.StableDiffusionDepth2ImgPipeline(
        **{name: parts[name] for name in names}, depth_estimator=None, feature_extractor=None
    )
    peer.set_progress_bar_config(disable=True)
    return torch_pipeline(folder, base.with_name("depth-bundle")), peer


@pytest.mark.parametrize("negative", ["", "ink style"])
@pytest.mark.parametrize(("guidance", "image_guidance"), [(7.5, 1.5), (4.0, 1.0), (3.0, 2.5)])
def test_an_instruction_is_diffusers_picture(
    edit: tuple[overpaint.Pipeline, Any], guidance: float, image_guidance: float, negative: str
) -> None:
    pipe, peer = edit
    options = {"num_inference_steps": 6, "guidance_scale": guidance, "image_guidance_scale": image_guidance}
    common = {"negative_prompt": negative, **options}
    wanted = peer(PROMPT, image=PHOTO, generator=torch.Generator().manual_seed(3), **common).images[0]
    assert psnr(pipe(PHOTO, PROMPT, seed=3, **common).images[0], wanted) >= 50


def test_the_usual_image_guidance_and_strength(edit: tuple[overpaint.Pipeline, Any]) -> None:
    pipe, _ = edit
    common = {"seed": 3, "steps": 4}
    usual, named = (
        np.asarray(pipe(PHOTO, PROMPT, **common, **given).images[0])
        for given in ({}, {"image_guidance_scale": 1.5, "strength": 1.0, "guidance_scale": 7.5})
    )
    assert np.array_equal(usual, named)


def test_three_rows_share_a_call_with_other_pictures(edit: tuple[overpaint.Pipeline, Any]) -> None:
    pipe, _ = edit
    photos = [PHOTO, PHOTO.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    together = pipe(photos, PROMPT, seed=[1, 2], steps=3).images
    alone = [pipe(photo, PROMPT, seed=seed, steps=3).images[0] for seed, photo in enumerate(photos, 1)]
    assert all(psnr(one, other) >= 50 for one, other in zip(together, alone, strict=True))


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_a_depth_map_is_diffusers_picture(deep: tuple[overpaint.Pipeline, Any], strength: float) -> None:
    pipe, peer = deep
    options = {"num_inference_steps": 6, "guidance_scale": 5.0, "strength": strength}
    depth = torch.from_numpy(DEPTH.astype(np.float32))[None]
    generator = torch.Generator().manual_seed(3)
    wanted = peer(PROMPT, image=PHOTO, depth_map=depth, generator=generator, **options).images[0]
    common = {"seed": 3, "convention": "diffusers", **options}
    made = pipe(PHOTO, PROMPT, depth=overpaint.DepthMap(DEPTH), **common).images[0]
    assert psnr(made, wanted) >= 50
    other = pipe(PHOTO, PROMPT, depth=overpaint.DepthMap(DEPTH[::-1].copy()), **common).images[0]
    assert psnr(other, wanted) < 50


@pytest.mark.parametrize("size", [(12, 16), (24, 9), (5, 31)])
def test_a_depth_map_in_latents_is_torchs(size: tuple[int, int]) -> None:
    depth = np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint8)
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(depth.astype(np.float32))[None, None], size, mode="bicubic"
    )
    low, high = resized.min(), resized.max()
    assert np.abs(depth_latents(depth, *size) - (2 * (resized - low) / (high - low) - 1).numpy()[0]).max() < 1e-5


def test_a_depth_model_asks_for_its_map(deep: tuple[overpaint.Pipeline, Any]) -> None:
    with pytest.raises(InputError, match="--depth") as raised:
        deep[0](PHOTO, PROMPT)
    assert raised.value.field == "depth"


def test_bad_depth_maps_are_named(deep: tuple[overpaint.Pipeline, Any]) -> None:
    pipe, _ = deep
    for levels, words in ((DEPTH[:20], "picture is 64x48"), (np.zeros_like(DEPTH), "same everywhere")):
        with pytest.raises(InputError, match=words) as raised:
            pipe(PHOTO, PROMPT, depth=overpaint.DepthMap(levels))
        assert raised.value.field == "depth"
    with pytest.raises(InputError, match="uint8"):
        overpaint.DepthMap(DEPTH.astype(np.float32))
