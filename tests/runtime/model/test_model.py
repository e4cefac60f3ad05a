"""The stages of a model, called one by one, and composed by hand into what the pipeline makes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from overpaint import EngineError, InputError, ModelOutputError, Pipeline, Request
from overpaint.runtime.conditioning.conditioning import Conditioning
from overpaint.runtime.denoising.job import Job
from overpaint.runtime.model.model import Model
from overpaint.runtime.sampling.brownian import BrownianNoise
from overpaint.runtime.sampling.noise import noise_stream
from tests.support.engines import Counting, Spoiling, until
from tests.support.painting import Pixels, alone


def conditionings(model: Model, request: Request) -> list[Conditioning]:
    """The prompt and the negative prompt of a request, as classifier-free guidance weighs them."""
    scale = request.guidance_scale
    return [
        Conditioning(scale, model.encode_prompt(request.prompt)),
        Conditioning(1 - scale, model.encode_prompt(request.negative_prompt)),
    ]


def started(model: Model, request: Request) -> Job:
    """The job of a request, by the stages."""
    prepared = model.prepare(request)
    noise = noise_stream(request.noise_kind, request.seed)
    latents = model.encode_image(prepared.picture.on_white, noise)
    motion = BrownianNoise(lambda seed: noise_stream(request.noise_kind, seed), request.seed)
    return model.start_job(latents, conditionings(model, request), model.plan(request), noise, motion=motion)


@pytest.fixture
def one(request_of: Request) -> Request:
    return replace(request_of, prompt="b (c:1.2)", negative_prompt="q", guidance_scale=4.0, strength=0.6)


@pytest.mark.parametrize("sampler", ["ddim", "euler_a", "dpmpp_2m", "heun", "dpmpp_2m_sde"])
def test_stages_composed_by_hand_are_the_pipelines_picture(
    fake: Pipeline, lone: Pipeline, one: Request, sampler: str
) -> None:
    request = replace(one, sampler=sampler)
    latents = fake.model.denoise(started(fake.model, request))
    assert np.array_equal(fake.model.decode(latents), alone(lone, request))
    *_, last = lone.run([request])
    assert np.array_equal(latents, last.denoised)


def test_stages_share_calls_with_requests_and_with_each_other(fake: Pipeline, lone: Pipeline, one: Request) -> None:
    jobs = [started(fake.model, replace(one, seed=seed)) for seed in range(3)]

    def first_call(feeds: Any) -> None:
        """Wait in the first call of all until the others have come."""
        if len(counted.rows) == 1:
            until(lambda: len(fake.model.scheduler.tickets) == 4)

    counted = Counting(fake.denoiser.engine, first_call)
    fake.denoiser.engine = counted
    with ThreadPoolExecutor(4) as threads:
        made = [threads.submit(fake.model.denoise, job) for job in jobs]
        ticket = fake.model.submit(replace(one, seed=9))
        latents = [each.result(10) for each in made]
    for seed, each in enumerate(latents):
        assert np.array_equal(fake.model.decode(each), alone(lone, replace(one, seed=seed)))
    assert np.array_equal(np.asarray(ticket.result().image), alone(lone, replace(one, seed=9)))
    assert len(counted.rows) <= len(fake.plan(one)) + 3


def test_conditionings_count_from_their_start_to_their_end(fake: Pipeline, one: Request) -> None:
    """Two prompts in turn are A1111's [a:b:0.5]."""
    model, request = fake.model, replace(one, prompt="[a:b:0.5]", guidance_scale=1.0, steps=10, strength=1.0)
    noise = noise_stream(request.noise_kind, request.seed)
    parts = [
        Conditioning(1.0, model.encode_prompt("a"), end=0.5),
        Conditioning(1.0, model.encode_prompt("b"), start=0.5),
    ]
    clean = np.zeros((4, 10, 14), np.float32)
    latents = model.denoise(model.start_job(clean, parts, model.plan(request), noise))
    assert np.array_equal(model.decode(latents), alone(fake, request))


def test_a_job_goes_on_from_the_latents_of_another(fake: Pipeline, one: Request) -> None:
    """A plan cut in two, without noise added in between, is the whole."""
    model, request = fake.model, replace(one, sampler="ddim", strength=1.0)
    plan, noise = model.plan(request), noise_stream(request.noise_kind, request.seed)
    own, clean = conditionings(model, request), np.zeros((4, 10, 14), np.float32)
    half = model.denoise(model.start_job(clean, own, plan[:5], noise))
    latents = model.denoise(model.start_job(half, own, plan[5:], noise, add_noise=False))
    np.testing.assert_allclose(latents, model.denoise(started_at(model, request, clean)), rtol=1e-5, atol=1e-5)


def started_at(model: Model, request: Request, clean: Pixels) -> Job:
    noise = noise_stream(request.noise_kind, request.seed)
    return model.start_job(clean, conditionings(model, request), model.plan(request), noise)


def test_a_picture_is_encoded_to_its_mean_without_noise(fake: Pipeline, picture: Pixels) -> None:
    mean = fake.model.encode_image(picture)
    assert mean.shape == (4, 10, 14)
    assert np.array_equal(mean, fake.model.encode_image(picture))
    assert not np.array_equal(mean, fake.model.encode_image(picture, noise_stream("cpu", 1)))


@pytest.mark.parametrize("prompt", ["[a:b:0.5]", "a AND b", "[a|b]"])
def test_a_prompt_that_changes_is_no_one_encoding(fake: Pipeline, prompt: str) -> None:
    with pytest.raises(InputError, match="encode each text by itself") as caught:
        fake.model.encode_prompt(prompt)
    assert caught.value.field == "prompt"


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((40, 57, 3), np.uint8), np.zeros((40, 56), np.uint8), np.zeros((40, 56, 4), np.uint8), None, "a.png"],
    ids=lambda pixels: str(getattr(pixels, "shape", pixels)),
)
def test_what_is_no_picture_of_the_models_is_not_encoded(fake: Pipeline, pixels: Any) -> None:
    with pytest.raises(InputError):
        fake.model.encode_image(pixels)


@pytest.mark.parametrize("shape", [(4, 10), (3, 10, 14), (1, 4, 10, 14)], ids=str)
def test_what_are_no_latents_of_the_models_are_refused(fake: Pipeline, one: Request, shape: tuple[int, ...]) -> None:
    wrong, model = np.zeros(shape, np.float32), fake.model
    with pytest.raises(InputError, match="latents are"):
        model.decode(wrong)
    with pytest.raises(InputError, match="latents are"):
        model.start_job(wrong, conditionings(model, one), model.plan(one), noise_stream("cpu", 1))


def test_a_job_needs_conditionings_for_every_evaluation(fake: Pipeline, one: Request) -> None:
    model, plan, noise = fake.model, fake.plan(one), noise_stream("cpu", 1)
    clean, [own, _] = np.zeros((4, 10, 14), np.float32), conditionings(fake.model, one)
    for wrong in (
        [],
        [replace(own, end=0.5)],
        [[own]],
        [[own]] * len(plan) + [[own]],
        [[own]] * (len(plan) - 1) + [[]],
    ):
        with pytest.raises(InputError, match="conditioning"):
            model.start_job(clean, wrong, plan, noise)
    with pytest.raises(EngineError, match="takes encoder_hidden_states, of which a row has no array"):
        model.denoise(model.start_job(clean, [Conditioning(1.0, {})], plan, noise))


def test_nan_is_told_of_a_stage_called_by_itself(fake: Pipeline, one: Request) -> None:
    job = started(fake.model, one)
    fake.denoiser.engine = Spoiling(fake.denoiser.engine, lambda row: True)
    with pytest.raises(ModelOutputError, match="unet returned NaN or infinity at evaluation 1"):
        fake.model.denoise(job)
    with pytest.raises(ModelOutputError, match="vae_decoder"):
        fake.model.decode(np.full((4, 10, 14), np.nan, np.float32))
    assert fake.model.scheduler.tickets == ()
