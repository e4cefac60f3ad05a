"""The shipped model, whole pictures: this runtime against diffusers' pipeline with the same weights, seed and steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

import overpaint
from overpaint.engines.compare import psnr
from overpaint.runtime.model.shipped import MODELS
from tests.support.examples import EXAMPLES

CHECKPOINT = MODELS / "tiny-checkpoint"
PROMPT, NEGATIVE = "fox, ink style", "a rocket"
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "plms": ("PNDMScheduler", {"skip_prk_steps": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_sde": ("DPMSolverSDEScheduler", {"noise_sampler_seed": 11}),
    "dpmpp_2s": ("DPMSolverSinglestepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}
Paint = Callable[..., Image.Image]


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def pipe(request: pytest.FixtureRequest) -> overpaint.Pipeline:
    return overpaint.load("tiny", engine=request.param, precision="float32")


@pytest.fixture(scope="module")
def peer() -> Any:
    pipeline = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(CHECKPOINT, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def picture() -> Image.Image:
    return Image.open(EXAMPLES[0]).convert("RGB").resize((64, 64), Image.Resampling.LANCZOS)


def theirs(peer: Any, image: Image.Image, sampler: str, seed: int, **options: Any) -> Image.Image:
    name, settings = SCHEDULERS[sampler]
    peer.scheduler = getattr(diffusers, name).from_config(peer.scheduler.config, **settings)
    generator = torch.Generator().manual_seed(seed)
    made: Image.Image = peer(PROMPT, image=image, negative_prompt=NEGATIVE, generator=generator, **options).images[0]
    return made


@pytest.mark.parametrize("sampler", SCHEDULERS)
@pytest.mark.parametrize("strength", [0.4, 0.75])
def test_a_picture_is_diffusers_picture(pipe: overpaint.Pipeline, peer: Any, sampler: str, strength: float) -> None:
    options = {"strength": strength, "num_inference_steps": 10, "guidance_scale": 5.0}
    wanted = theirs(peer, picture(), sampler, 11, **options)
    ours = {"negative_prompt": NEGATIVE, "sampler": sampler, "seed": 11, "convention": "diffusers", **options}
    assert psnr(pipe(picture(), PROMPT, **ours).images[0], wanted) >= 50


def test_guidance_1_is_none_as_in_diffusers(pipe: overpaint.Pipeline, peer: Any) -> None:
    common = {"strength": 0.6, "num_inference_steps": 8, "guidance_scale": 1.0}
    wanted = theirs(peer, picture(), "ddim", 3, **common)
    made = pipe(picture(), PROMPT, negative_prompt=NEGATIVE, sampler="ddim", seed=3, **common).images[0]
    assert psnr(made, wanted) >= 50


@pytest.mark.parametrize("options", [{}, {"guidance_rescale": 0.7}], ids=str)
def test_strength_1_is_diffusers_text_to_image(pipe: overpaint.Pipeline, peer: Any, options: dict[str, float]) -> None:
    text = diffusers.StableDiffusionPipeline(**peer.components, requires_safety_checker=False)
    text.set_progress_bar_config(disable=True)
    text.scheduler = diffusers.DDIMScheduler.from_config(peer.scheduler.config)
    generator = torch.Generator().manual_seed(3)
    wanted = text(PROMPT, height=64, width=64, num_inference_steps=8, generator=generator, **options).images[0]
    common = {"strength": 1.0, "num_inference_steps": 8, "guidance_scale": 7.5}  # the last is diffusers' default
    made = pipe(picture(), PROMPT, sampler="ddim", seed=3, **common, **options).images[0]
    assert psnr(made, wanted) >= 50


def test_the_diffusers_convention_leaks_the_input_at_strength_1_as_diffusers_does(
    pipe: overpaint.Pipeline, peer: Any
) -> None:
    options = {"strength": 1.0, "num_inference_steps": 8, "guidance_scale": 7.5}
    wanted = theirs(peer, picture(), "ddim", 5, **options)
    common = {"negative_prompt": NEGATIVE, "sampler": "ddim", "seed": 5, **options}
    assert psnr(pipe(picture(), PROMPT, convention="diffusers", **common).images[0], wanted) >= 50


def test_rows_of_other_pictures_change_nothing_but_rounding(pipe: overpaint.Pipeline) -> None:
    sources = [Image.open(path).convert("RGB").resize((64, 64)) for path in EXAMPLES[:3]]
    together = pipe(sources, PROMPT, seed=[1, 2, 3], steps=8).images
    alone = [pipe(source, PROMPT, seed=seed, steps=8).images[0] for seed, source in enumerate(sources, 1)]
    assert all(psnr(a, b) >= 50 for a, b in zip(together, alone, strict=True))


def test_a_tiled_vae_is_close_to_a_whole_one(pipe: overpaint.Pipeline) -> None:
    source = Image.open(EXAMPLES[0]).convert("RGB").resize((256, 192), Image.Resampling.LANCZOS)
    tiled = overpaint.load("tiny", precision="float32", vae_tile=128)
    pixels = np.asarray(source)
    whole, parts = (p.vae.decode(p.vae.latents(p.vae.encode(pixels)[0], None)) for p in (pipe, tiled))
    assert psnr(Image.fromarray(whole), Image.fromarray(parts)) >= 30


def test_bfloat16_is_close_to_float32(pipe: overpaint.Pipeline) -> None:
    fast = overpaint.load("tiny", engine="openvino")
    options = {"strength": 0.6, "steps": 20, "seed": 7, "guidance_scale": 3}
    assert psnr(fast(picture(), PROMPT, **options).images[0], pipe(picture(), PROMPT, **options).images[0]) >= 35


def test_strength_moves_the_result_away_from_the_input(pipe: overpaint.Pipeline) -> None:
    source = picture()
    results = [pipe(source, PROMPT, strength=s, seed=2).images[0] for s in (0.0, 0.2, 0.5, 0.8, 1.0)]
    distances = [np.abs(np.asarray(made, float) - np.asarray(source, float)).mean() for made in results]
    assert distances[0] == 0
    assert distances == sorted(distances)


def test_the_shipped_files_are_small() -> None:
    for folder in (MODELS / "tiny", CHECKPOINT):
        files = (path for path in Path(folder).rglob("*") if path.is_file() and "engines" not in path.parts)
        assert sum(path.stat().st_size for path in files) <= 30e6
