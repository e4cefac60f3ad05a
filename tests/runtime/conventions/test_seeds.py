"""Which noise the steps draw, by convention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import overpaint
from overpaint.runtime.conventions.seeds import COMFY, COMFY_NEWER, GOES_ON
from overpaint.runtime.imaging.picture import Picture
from overpaint.runtime.model.build_job import JobBuilder
from overpaint.runtime.model.stats import RunStats
from overpaint.runtime.requests.request import Request
from overpaint.runtime.sampling.noise import noise_stream
from overpaint.runtime.units import exhaust


def noises(pipe: overpaint.Pipeline, **options: Any) -> list[Any]:
    """What the noisy lines of a request draw."""
    picture = Picture(np.full((64, 64, 3), 90, np.uint8))
    request = Request(picture, "a fox", sampler="euler_a", steps=4, strength=1.0, seed=7, **options)
    task = pipe.prepare(request)
    job = exhaust(JobBuilder(pipe.model.stages, task, RunStats()).job())
    return [job.draw(int(evaluation)) for evaluation in np.flatnonzero(task.plan.noisy)]


@pytest.mark.parametrize(("convention", "places"), [("comfy", (0, 1)), ("a1111", (1, 2)), ("diffusers", (2, 3))])
def test_steps_draw_what_the_program_draws(fake: overpaint.Pipeline, convention: str, places: tuple[int, ...]) -> None:
    """ComfyUI begins again from the seed; A1111 goes on after the first noise, diffusers after the latents' and it."""
    first, second, *_ = noises(fake, convention=convention, posterior="sample", noise="cpu")
    stream = noise_stream("cpu", 7)
    draws = [stream(first.shape) for _ in range(4)]
    for drawn, place in zip((first, second), places, strict=True):
        np.testing.assert_array_equal(drawn, draws[place])


def test_rules() -> None:
    assert COMFY.seed(7, "cpu") == COMFY.seed(7, "gpu") == 7
    assert (COMFY_NEWER.seed(2**64 - 1, "cpu"), COMFY_NEWER.seed(7, "gpu")) == (0, 7)
    assert GOES_ON.seed(7, "cpu") is None
