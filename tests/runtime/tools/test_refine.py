"""SDXL's base and its refiner on one picture, against diffusers' denoising_end and denoising_start."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

import overpaint
from overpaint.engines.compare import psnr
from overpaint.errors import InputError
from overpaint.runtime.imaging.picture import read
from overpaint.runtime.requests.request import Request
from overpaint.runtime.tools.refine import Refined
from tests.support.families import PHOTO, SCHEDULER, SMALL, peer_of, xl_checkpoint
from tests.support.torch_engine import torch_pipeline

PROMPT = "a photo of the red fox"
Models = tuple[overpaint.Pipeline, overpaint.Pipeline, Any, Any]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("refined")
    base = xl_checkpoint(folder / "base", **SMALL)
    refiner = xl_checkpoint(folder / "refiner", refiner=True, seed=1, **SMALL)
    pipes = [torch_pipeline(each, folder / f"{each.name}-bundle") for each in (base, refiner)]
    return pipes[0], pipes[1], peer_of(base), peer_of(refiner)


@pytest.mark.parametrize("scheduler", ["EulerDiscreteScheduler", "DDIMScheduler"])
@pytest.mark.parametrize("switch", [0.6, 0.8])
def test_a_refined_picture_is_diffusers_picture(models: Models, scheduler: str, switch: float) -> None:
    pipe, refiner, peer, other = models
    more = {"set_alpha_to_one": False, "clip_sample": False} if scheduler.startswith("DDIM") else {}
    common = {"num_inference_steps": 12, "guidance_scale": 5.0}
    for each in (peer, other):
        each.scheduler = getattr(diffusers, scheduler)(**{**SCHEDULER, "steps_offset": 1, **more})
    generator = torch.Generator().manual_seed(3)
    latents = peer(
        PROMPT, image=PHOTO, strength=0.8, denoising_end=switch, output_type="latent", generator=generator, **common
    ).images
    # The refiner's pipeline takes latents, and negative zeros where its index says so, which is not its way.
    wanted = other(PROMPT, image=latents, denoising_start=switch, generator=generator, **common).images[0]
    sampler = {"sampler": scheduler, "convention": "diffusers", "strength": 0.8, "seed": 3}
    made = pipe.refined(PHOTO, PROMPT, refiner=refiner, refiner_switch=switch, **sampler, **common).images[0]
    assert psnr(made, wanted) >= 50
    assert psnr(pipe(PHOTO, PROMPT, **sampler, **common).images[0], wanted) < 50


def test_steps_and_the_infotext(models: Models) -> None:
    pipe, refiner, *_ = models
    request = Request(read(PHOTO), PROMPT, steps=10, strength=0.8, seed=1, aesthetic_score=8.0, target_size=(96, 64))
    work = Refined(pipe.model, refiner.model, request, 0.8)
    steps = [(step.index, step.count) for step in work]
    assert steps == [(index, 8) for index in range(8)]
    assert 0 < work.at < 8
    (output,) = work.result().outputs
    assert output.parameters.endswith("Refiner: refiner-bundle, Refiner switch at: 0.8")
    assert output.record is None


@pytest.mark.parametrize(("switch", "words"), [(0.01, "the refiner's"), (1.0, "the base's"), (2.0, "from 0 to 1")])
def test_a_switch_leaves_both_something_to_do(models: Models, switch: float, words: str) -> None:
    pipe, refiner, *_ = models
    with pytest.raises(InputError, match=words) as raised:
        pipe.refined(PHOTO, PROMPT, refiner=refiner, refiner_switch=switch, strength=0.8, steps=10)
    assert raised.value.field == "refiner_switch"


def test_a_refiner_of_another_family_is_refused(models: Models) -> None:
    pipe, *_ = models
    with pytest.raises(InputError, match=r"latents|noise schedule"):
        pipe.refined(PHOTO, PROMPT, refiner=overpaint.load("tiny"))
