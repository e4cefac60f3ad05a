"""Evaluations that are forecast: no rows, no influence of others, exact where the model's output is a parabola."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from overpaint import InpaintMask, InputError, Pipeline, Region, Request
from overpaint.bundles.tensor import Array, TensorSpec
from overpaint.runtime.conditioning.conditioning import Conditioning
from overpaint.runtime.denoising.denoiser import OUTPUT
from overpaint.runtime.denoising.job import Job
from overpaint.runtime.execution.run import Run
from overpaint.runtime.model.planning import check_interval
from overpaint.runtime.model.scheduler import Scheduler
from overpaint.runtime.sampling.caching import Caching, computed
from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.levels import ModelSchedule
from overpaint.runtime.sampling.noise import noise_stream
from tests.support.engines import Counting
from tests.support.painting import Pixels, alone, painted

MASK = np.zeros((40, 56), np.uint8)
MASK[:, 32:] = 255
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no guidance": {"guidance_scale": 1.0},
    "rescaled": {"guidance_rescale": 0.7},
    "interval": {"guidance_interval": (0.2, 0.7)},
    "ancestral": {"sampler": "euler_a"},
    "sde": {"sampler": "dpmpp_2m_sde"},
    "heun": {"sampler": "heun"},
    "masked": {"inpaint_mask": InpaintMask(MASK)},
    "differential": {"inpaint_mask": InpaintMask(MASK // 2, differential=True)},
    "a1111": {"inpaint_mask": InpaintMask(MASK), "convention": "a1111"},
    "regions": {"regions": (Region("q", MASK),)},
    "windows": {"window": 32},
    "passes": {"passes": (0.6, 0.6)},
    "composed": {"prompt": "a AND b"},
    "edited": {"prompt": "[a:b:0.5]"},
}


@pytest.fixture
def cached(request_of: Request) -> Request:
    """Ten evaluations, of which 0, 1, 4, 7 and 9 are computed."""
    return replace(request_of, sampler="ddim", cache="forecast:3")


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_a_picture_does_not_depend_on_its_batch(
    fake: Pipeline, lone: Pipeline, cached: Request, kind: dict[str, Any]
) -> None:
    requests = [replace(cached, **kind), replace(cached, seed=5), replace(cached, cache=None), replace(cached, steps=7)]
    tickets = [fake.model.scheduler.submit(request) for request in requests]
    fake.model.scheduler.drain()
    for request, ticket in zip(requests, tickets, strict=True):
        assert np.array_equal(painted(ticket), alone(lone, request))


def test_what_is_forecast_has_no_rows(scheduler: Scheduler, fake: Pipeline, cached: Request) -> None:
    engine = fake.denoiser.engine
    assert isinstance(engine, Counting)
    alone(fake, cached)
    assert engine.rows == [2] * 5
    engine.rows.clear()
    scheduler.submit(cached)
    scheduler.submit(replace(cached, cache=None))
    scheduler.drain()
    assert engine.rows == [4, 4, 2, 2, 4, 2, 2, 4, 2, 4]


def test_guidance_counts_in_its_interval_alone(scheduler: Scheduler, fake: Pipeline, request_of: Request) -> None:
    engine = fake.denoiser.engine
    assert isinstance(engine, Counting)
    alone(fake, replace(request_of, guidance_interval=(0.2, 0.8)))
    assert engine.rows == [1, 1, 2, 2, 2, 2, 2, 2, 1, 1]


def test_an_interval_of_everything_alters_nothing(fake: Pipeline, request_of: Request) -> None:
    assert np.array_equal(alone(fake, replace(request_of, guidance_interval=(0.0, 1.0))), alone(fake, request_of))


@pytest.mark.parametrize("interval", [(0.5, 0.5), (0.8, 0.2), (0.1, 0.2, 0.3), (0.0, 1.5)])
def test_what_is_no_interval(request_of: Request, interval: tuple[float, ...]) -> None:
    with pytest.raises(InputError) as caught:
        replace(request_of, guidance_interval=interval)
    assert caught.value.field == "guidance_interval"


def test_an_interval_of_a_model_that_takes_its_guidance_as_an_input_is_refused(
    fake: Pipeline, request_of: Request
) -> None:
    name = fake.bundle.name_of("denoiser")
    unet = fake.bundle.graphs[name]
    inputs = (*unet.inputs, TensorSpec("timestep_cond", "float32", ("rows", 8)))
    bundle = replace(fake.bundle, graphs={**fake.bundle.graphs, name: replace(unet, inputs=inputs)})
    guided = replace(request_of, guidance_interval=(0.2, 0.8))
    check_interval(guided, fake.bundle)
    check_interval(request_of, bundle)
    with pytest.raises(InputError, match="takes its guidance as an input"):
        check_interval(guided, bundle)


@pytest.mark.parametrize("at", [1, 5, 6, 9])
def test_a_run_goes_on_from_a_snapshot_bit_for_bit(fake: Pipeline, cached: Request, at: int) -> None:
    whole = alone(fake, cached)
    run = fake.run([cached])
    for step in run:
        if step.index + 1 == at:
            snapshot = run.snapshot()
            break
    assert np.array_equal(_rest(fake.resume(snapshot)), whole)


def test_another_prompt_is_not_forecast_from_the_old_one(fake: Pipeline, cached: Request) -> None:
    run = fake.run([cached])
    for step in run:
        if step.index == 4:
            break
    counted = fake.denoiser.engine = Counting(fake.denoiser.engine)
    _rest(fake.resume(run.snapshot(), prompt="b c", negative_prompt="q"))
    assert counted.rows == [2] * 4  # 5 and 6 for two values of its own, then 7 and 9


def _rest(run: Run) -> Pixels:
    for _ in run:
        pass
    return np.asarray(run.result().images[0])


def test_what_a_parabola_gives_is_exact() -> None:
    """A model whose output is a parabola of the timestep, whatever the latents: the fourth evaluation on is exact."""
    plan = compile_plan(ModelSchedule(), sampler="ddim", steps=12)
    start = np.random.default_rng(1).standard_normal((4, 8, 8)).astype(np.float32)

    def final(forecast: int) -> tuple[Array, int]:
        rows = 0
        those = (Conditioning(1.0, {"encoder_hidden_states": np.zeros((2, 4), np.float32)}),)
        job = Job(
            plan,
            start,
            [those] * len(plan),
            noise_stream("cpu", 1),
            caching=Caching("forecast", forecast) if forecast else None,
        )
        while not job.done:
            for index, row in enumerate(job.rows()):
                rows += 1
                t = row.inputs["timestep"][0] / 1000
                job.receive(index, {OUTPUT: np.full_like(start, 0.3 - t + 2 * t * t)})
            job.advance()
        return job.latents, rows

    exact, rows = final(0)
    assert rows == 12
    near, rows = final(2)
    assert rows == computed(plan, Caching("forecast", 2)).sum() == 7
    assert np.abs(near - exact).max() < 0.05  # the first forecast has two values, a line
    assert np.abs(near - exact).max() > 0


@pytest.mark.parametrize(("options", "cause"), [({"steps": 3}, "too few"), ({"cache": "deep"}, "deep")])
def test_what_cannot_be_cached_is_refused_before_it_runs(
    fake: Pipeline, cached: Request, options: dict[str, Any], cause: str
) -> None:
    with pytest.raises(InputError, match=cause) as caught:
        fake.run([replace(cached, **options)])
    assert caught.value.field == "cache"


def test_strength_zero_has_nothing_to_cache(fake: Pipeline, cached: Request, picture: Pixels) -> None:
    assert np.array_equal(alone(fake, replace(cached, strength=0.0)), picture)
