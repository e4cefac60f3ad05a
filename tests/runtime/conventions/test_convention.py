"""What a convention decides where a request leaves it open, and that what is given wins."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from overpaint import InputError, Pipeline
from overpaint.cli import main
from overpaint.runtime.conventions.convention import CONVENTIONS, convention
from overpaint.runtime.imaging.picture import Picture
from overpaint.runtime.model.build_job import JobBuilder
from overpaint.runtime.model.stats import RunStats
from overpaint.runtime.requests.request import Request
from overpaint.runtime.sampling import strength
from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.levels import ModelSchedule
from overpaint.runtime.sampling.noise import noise_stream
from overpaint.runtime.units import exhaust

Pixels = NDArray[np.uint8]
GREY = Picture(np.full((64, 64, 3), 90, np.uint8))


def test_every_strength_convention_has_a_record() -> None:
    assert set(CONVENTIONS) == set(strength.CONVENTIONS)
    with pytest.raises(InputError, match="'a1111'"):
        convention("a111")


@pytest.mark.parametrize(
    ("name", "noise", "posterior", "eight_bits"),
    [
        ("contract", "cpu", "sample", "round"),
        ("diffusers", "cpu", "sample", "round"),
        ("a1111", "gpu", "mode", "cut"),
        ("comfy", "cpu", "mode", "cut"),
    ],
)
def test_what_a_request_leaves_open(name: str, noise: str, posterior: str, eight_bits: str) -> None:
    request = Request(GREY, convention=name)
    assert (request.noise_kind, request.latents_from) == (noise, posterior)
    assert request.habit.eight_bits == eight_bits
    given = Request(GREY, convention=name, noise="field", posterior="sample")
    assert (given.noise_kind, given.latents_from) == ("field", "sample")


@pytest.mark.parametrize(
    ("sampler", "a1111", "comfy"),
    [
        ("dpmpp_2m", "karras", "simple"),
        ("dpm2_a", "karras", "simple"),
        ("dpmpp_3m_sde", "exponential", "simple"),
        ("euler", "normal", "simple"),
        ("ddim", "leading", "simple"),
        ("pndm", "leading", "leading"),
    ],
)
def test_the_schedule_where_none_is_named(sampler: str, a1111: str, comfy: str) -> None:
    facts = ModelSchedule(timestep_spacing="leading")
    for name, schedule in (("a1111", a1111), ("comfy", comfy)):
        assert compile_plan(facts, sampler=sampler, steps=20, convention=name).schedule == schedule
        named = compile_plan(facts, sampler=sampler, steps=20, convention=name, schedule="trailing")
        assert named.schedule == "trailing"


@pytest.mark.parametrize("convention", ["a1111", "comfy"])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_named_schedules_are_the_models_whole_range(convention: str, spacing: str) -> None:
    facts = ModelSchedule(timestep_spacing=spacing)
    plan = compile_plan(facts, sampler="euler", schedule="karras", steps=20, convention=convention)
    np.testing.assert_allclose(plan.sigmas[[0, -1]], [14.6146, 0.02917], rtol=1e-3)


@pytest.mark.parametrize("sampler", ["ddim", "plms", "unipc"])
def test_a1111_runs_nothing_where_it_leaves_noise(sampler: str) -> None:
    with pytest.raises(InputError, match="ask for at least"):
        compile_plan(ModelSchedule(), sampler=sampler, steps=3, strength=0.3, convention="a1111")
    assert not len(compile_plan(ModelSchedule(), sampler=sampler, steps=3, strength=0.0, convention="a1111"))


@pytest.mark.parametrize(("name", "draw"), [("contract", 1), ("diffusers", 1), ("a1111", 0), ("comfy", 0)])
def test_which_draw_a_run_starts_with(fake: Pipeline, picture: Pixels, name: str, draw: int) -> None:
    request = Request(Picture(picture), convention=name, seed=7, strength=0.5, sampler="euler_a")
    task = fake.prepare(request)
    job = exhaust(JobBuilder(fake.model.stages, task, RunStats()).job())
    stream = noise_stream(request.noise_kind, 7)
    draws = [stream(job.latents.shape) for _ in range(3)]
    moments, _ = fake.vae.encode(task.picture.on_white)
    clean = fake.vae.latents(moments, (lambda: draws[0]) if draw else None)
    expected = task.plan.start[0] * clean + task.plan.start[1] * draws[draw]
    np.testing.assert_allclose(job.latents, expected, atol=1e-4)
    again = draws[0] if name == "comfy" else draws[draw + 1]
    np.testing.assert_array_equal(job._noise(job.latents.shape), again)


def test_plan_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--sampler", "DDIM", "--strength", "0.5", "--convention", "a1111", "--steps", "20"]
    assert main(["plan", "--json", *options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["timesteps"] == [451, 401, 351, 301, 251, 201, 151, 101, 51]
    assert len(document["sigmas"]) == document["evaluations"] == 9
