"""Inpainting against diffusers' StableDiffusionInpaintPipeline with the same weights, seed and steps."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

import overpaint
from overpaint.bundles.manifest import Bundle
from overpaint.engines.compare import psnr
from overpaint.runtime.model.shipped import MODELS

CHECKPOINT = MODELS / "tiny-checkpoint"
PROMPT, NEGATIVE = "fox, ink style", "a rocket"
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
}
# Nothing but what diffusers does.
AS_DIFFUSERS = {"blur": 0, "ring": 0, "latent_mask": "diffusers"}


def peer_of(checkpoint: Path) -> Any:
    peer = diffusers.StableDiffusionInpaintPipeline.from_pretrained(checkpoint, torch_dtype=torch.float32)
    peer.set_progress_bar_config(disable=True)
    return peer


@pytest.fixture(scope="module")
def pipe() -> overpaint.Pipeline:
    return overpaint.load("tiny", engine="onnxruntime", precision="float32")


@pytest.fixture(scope="module")
def peer() -> Any:
    return peer_of(CHECKPOINT)


@pytest.fixture(scope="module")
def inpainting_pipe(inpainting_bundle: Bundle) -> overpaint.Pipeline:
    return overpaint.load(inpainting_bundle.folder, engine="onnxruntime", precision="float32")


@pytest.fixture(scope="module")
def inpainting_peer(inpainting_checkpoint: Path) -> Any:
    return peer_of(inpainting_checkpoint)


def picture(side: int = 64) -> Image.Image:
    return Image.open(MODELS / "examples/fox.png").convert("RGB").resize((side, side), Image.Resampling.LANCZOS)


def mask(side: int = 64) -> Image.Image:
    """A disc right of the middle, which no grid of latents fits."""
    y, x = np.mgrid[:side, :side] / side
    return Image.fromarray((np.hypot(x - 0.6, y - 0.45) < 0.27).astype(np.uint8) * np.uint8(255))


def masked(image: Image.Image, original: Image.Image, levels: Image.Image) -> np.ndarray[Any, Any]:
    """An image with the original outside the mask: that is where ours is exact and diffusers' is not."""
    return np.where(np.asarray(levels)[..., None] > 0, np.asarray(image), np.asarray(original))


def theirs(peer: Any, image: Image.Image, levels: Image.Image, sampler: str, seed: int, **options: Any) -> Image.Image:
    name, settings = SAMPLERS[sampler]
    peer.scheduler = getattr(diffusers, name).from_config(peer.scheduler.config, **settings)
    generator = torch.Generator().manual_seed(seed)
    common = {"negative_prompt": NEGATIVE, "generator": generator, "height": 64, "width": 64}
    made: Image.Image = peer(PROMPT, image=image, mask_image=levels, **common, **options).images[0]
    return made


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_four_channels(pipe: overpaint.Pipeline, peer: Any, sampler: str, strength: float) -> None:
    options = {"strength": strength, "num_inference_steps": 10, "guidance_scale": 5.0}
    wanted = theirs(peer, picture(), mask(), sampler, 11, **options)
    given = {"negative_prompt": NEGATIVE, "sampler": sampler, "seed": 11, **options, **AS_DIFFUSERS}
    made = pipe.inpaint(picture(), mask(), PROMPT, convention="diffusers", **given).images[0]
    assert psnr(made, masked(wanted, picture(), mask())) >= 45
    if strength == 1:
        contract = pipe.inpaint(picture(), mask(), PROMPT, convention="contract", **given).images[0]
        assert psnr(contract, masked(wanted, picture(), mask())) >= 45


@pytest.mark.parametrize("sampler", ["ddim", "euler_a"])
@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_nine_channels(
    inpainting_pipe: overpaint.Pipeline, inpainting_peer: Any, sampler: str, strength: float
) -> None:
    options = {"strength": strength, "num_inference_steps": 8, "guidance_scale": 2.0}
    wanted = theirs(inpainting_peer, picture(), mask(), sampler, 4, **options)
    given = {"negative_prompt": NEGATIVE, "sampler": sampler, "seed": 4, **options, **AS_DIFFUSERS}
    for convention in ("contract", "diffusers"):
        made = inpainting_pipe.inpaint(picture(), mask(), PROMPT, convention=convention, **given).images[0]
        assert psnr(made, masked(wanted, picture(), mask())) >= 45


@pytest.mark.parametrize("padding", [8, 32])
def test_padding_mask_crop(pipe: overpaint.Pipeline, peer: Any, padding: int) -> None:
    options = {"strength": 0.6, "num_inference_steps": 10, "guidance_scale": 5.0}
    image, levels = picture(200), mask(200)
    wanted = theirs(peer, image, levels, "ddim", 3, padding_mask_crop=padding, **options)
    given = {"negative_prompt": NEGATIVE, "sampler": "ddim", "seed": 3, **options, **AS_DIFFUSERS}
    made = pipe.inpaint(image, levels, PROMPT, only_masked=True, padding=padding, **given)
    assert made.outputs[0].request.image.size == (64, 64)
    assert psnr(made.images[0], wanted) >= 45


def test_padding_mask_crop_with_a_blurred_mask(pipe: overpaint.Pipeline, peer: Any) -> None:
    options = {"strength": 0.6, "num_inference_steps": 10, "guidance_scale": 5.0}
    image, levels = picture(200), mask(200)
    blurred = peer.mask_processor.blur(levels, blur_factor=6)
    wanted = theirs(peer, image, blurred, "ddim", 3, padding_mask_crop=16, **options)
    given = {"negative_prompt": NEGATIVE, "sampler": "ddim", "seed": 3, **options, **AS_DIFFUSERS}
    given |= {"blur": 6, "blur_kind": "diffusers", "only_masked": True, "padding": 16}
    assert psnr(pipe.inpaint(image, levels, PROMPT, **given).images[0], wanted) >= 45
