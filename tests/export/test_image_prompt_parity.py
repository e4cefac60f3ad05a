"""Image prompts, whole pictures: this runtime against diffusers' pipeline with the same IP-Adapter, seed and steps."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from transformers import CLIPImageProcessorPil

import overpaint
from overpaint import ImagePrompt
from overpaint.engines.compare import psnr
from overpaint.export import export_bundle
from overpaint.export.image_prompt import export_image_prompt
from overpaint.runtime.imaging.clip_picture import clip_pixels
from tests.support.checkpoints import tiny_checkpoint
from tests.support.ip_adapters import ENCODER, WEIGHTS, ip_adapter

PROMPT, NEGATIVE = "a red fox", "ink"
KINDS = ("base", "plus")


def noisy(seed: int, width: int = 64, height: int = 64) -> Image.Image:
    """A picture of large, differently coloured patches."""
    patches = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, two adapters for it, and the bundles of all."""
    place = tmp_path_factory.mktemp("image-prompts")
    export_bundle(tiny_checkpoint(place / "checkpoint", seed=1), place / "bundle", adapters=("image",))
    unet = UNet2DConditionModel.from_pretrained(place / "checkpoint/unet")
    for kind in KINDS:
        export_image_prompt(ip_adapter(place / kind, unet, kind, seed=3), place / f"{kind}-bundle")
    return place


@pytest.fixture(scope="module", params=["onnxruntime", pytest.param("openvino", marks=pytest.mark.slow)])
def pipe(request: pytest.FixtureRequest, folder: Path) -> overpaint.Pipeline:
    adapters = {kind: folder / f"{kind}-bundle" for kind in KINDS}
    return overpaint.load(folder / "bundle", engine=request.param, precision="float32", image_prompt_adapters=adapters)


@pytest.fixture(scope="module")
def peers(folder: Path) -> dict[str, Any]:
    """diffusers' pipeline with each adapter."""
    made = {}
    for kind in KINDS:
        peer = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(folder / "checkpoint")
        peer.load_ip_adapter(folder / kind, subfolder="", weight_name=WEIGHTS, image_encoder_folder=ENCODER)
        peer.set_progress_bar_config(disable=True)
        made[kind] = peer
    return made


def theirs(peer: Any, shown: list[Image.Image], scale: Any, **options: Any) -> Image.Image:
    peer.set_ip_adapter_scale(scale)
    generator = torch.Generator().manual_seed(7)
    call = {"image": noisy(0), "negative_prompt": NEGATIVE, "strength": 0.8, "num_inference_steps": 10, **options}
    made: Image.Image = peer(PROMPT, ip_adapter_image=[shown], generator=generator, **call).images[0]
    return made


def ours(pipe: overpaint.Pipeline, *prompts: ImagePrompt, **options: Any) -> Image.Image:
    call = {"negative_prompt": NEGATIVE, "strength": 0.8, "steps": 10, "seed": 7, "convention": "diffusers"}
    sampler = {"sampler": "ddim", "guidance_scale": 5.0}
    return pipe(noisy(0), PROMPT, image_prompts=prompts, **{**call, **sampler, **options}).images[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("guidance", [5.0, 1.0])
def test_a_picture_is_diffusers_picture(
    pipe: overpaint.Pipeline, peers: dict[str, Any], kind: str, guidance: float
) -> None:
    shown = noisy(1, 90, 50)
    wanted = theirs(peers[kind], [shown], 0.7, guidance_scale=guidance)
    image = np.asarray(shown)
    made = ours(pipe, ImagePrompt(image, 0.7, adapter=kind), guidance_scale=guidance)
    assert psnr(made, wanted) >= 50
    assert psnr(made, ours(pipe, guidance_scale=guidance)) < 40


@pytest.mark.parametrize("kind", KINDS)
def test_several_pictures_are_diffusers_several_of_one_adapter(
    pipe: overpaint.Pipeline, peers: dict[str, Any], kind: str
) -> None:
    shown = [noisy(1), noisy(2, 50, 90)]
    wanted = theirs(peers[kind], shown, 0.6, guidance_scale=5.0)
    made = ours(pipe, *(ImagePrompt(np.asarray(each), 0.6, adapter=kind) for each in shown))
    assert psnr(made, wanted) >= 50


def test_blocks_are_diffusers_scales_by_block(pipe: overpaint.Pipeline, peers: dict[str, Any]) -> None:
    shown = noisy(1)
    scales = {"down": {"block_0": [0.3], "block_1": [0.0]}, "up": {"block_1": [0.0, 1.0], "block_2": [0.5, 0.0]}}
    wanted = theirs(peers["base"], [shown], scales, guidance_scale=5.0)
    # diffusers' dictionary has 0 for the middle, which it does not name.
    blocks = (0.3, 0.0, 0.0, 1.0, 0.5, 0.0, 0.0)
    made = ours(pipe, ImagePrompt(np.asarray(shown), blocks=blocks, adapter="base"))
    assert psnr(made, wanted) >= 50


def test_a_weight_of_zero_is_no_image_prompt_bit_for_bit(pipe: overpaint.Pipeline) -> None:
    off = ours(pipe, ImagePrompt(np.asarray(noisy(1)), 0.0, adapter="plus"))
    assert np.array_equal(np.asarray(off), np.asarray(ours(pipe)))


@pytest.mark.parametrize("size", [(64, 64), (90, 50), (31, 200), (32, 32), (20, 21), (33, 47)])
def test_pixels_are_those_of_transformers(size: tuple[int, int]) -> None:
    processor = CLIPImageProcessorPil(size=32, crop_size=32)
    wanted = processor(noisy(3, *size), return_tensors="np")["pixel_values"][0]
    made = clip_pixels(np.asarray(noisy(3, *size)), 32, processor.image_mean, processor.image_std)
    assert np.abs(made - wanted).max() < 1e-6
