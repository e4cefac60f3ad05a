"""The scheduler on the fake engine: who shares calls, when one joins, and that no picture depends on it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any

import numpy as np
import pytest

import overpaint
from overpaint import InpaintMask, Pipeline, Region, Request
from overpaint.runtime.model.scheduler import Scheduler
from overpaint.runtime.model.tickets import DECODING, DONE
from tests.support.engines import Counting, until
from tests.support.painting import Pixels, alone, painted

SAMPLERS = ("ddim", "euler_a", "dpmpp_2m", "heun", "lcm", "dpmpp_2m_sde")
PROMPTS = ("a", "b c", "[a:b:0.5]", "a AND b", "(a:1.3) b", " ".join("abcdefghij" * 3))


def some_request(random: np.random.Generator, picture: Pixels) -> Request:
    """One of many kinds: samplers, strengths, sizes, prompts, masks, windows, guidance."""
    pixels = [picture, picture[:32, :32], 255 - picture][random.integers(3)]
    mask = np.zeros(pixels.shape[:2], np.uint8)
    mask[:, 16:] = 255
    kinds: list[dict[str, Any]] = [
        {},
        {"inpaint_mask": InpaintMask(mask)},
        {"inpaint_mask": InpaintMask(mask // 2, differential=True)},
        {"window": 32},
        {"regions": (Region("q", mask),), "prompt": "b c"},
        {"passes": (0.5, 0.5)},
        {"guidance_rescale": 0.7},
    ]
    options = {
        "prompt": str(random.choice(PROMPTS)),
        "seed": int(random.integers(4)),
        "steps": int(random.integers(3, 7)),
        "strength": float(random.choice([0.5, 0.8, 1.0])),
        "sampler": str(random.choice(SAMPLERS)),
        "guidance_scale": float(random.choice([1.0, 4.0])),
    }
    return Request(overpaint.read(pixels), **options | kinds[random.integers(len(kinds))])


@pytest.mark.parametrize("threaded", [False, True])
def test_each_of_200_random_arrivals_is_the_picture_made_alone(
    fake: Pipeline, lone: Pipeline, picture: Pixels, threaded: bool
) -> None:
    random = np.random.default_rng(5)
    requests = [some_request(random, picture) for _ in range(200)]
    scheduler, tickets = fake.model.scheduler, []
    if threaded:
        scheduler.start()
    while len(tickets) < len(requests):
        arrivals = requests[len(tickets) : len(tickets) + int(random.integers(1, 12))]
        tickets += [scheduler.submit(request, priority=int(random.integers(3))) for request in arrivals]
        for _ in range(0 if threaded else random.integers(4)):
            scheduler.step()
    scheduler.drain()
    for request, ticket in zip(requests, tickets, strict=True):
        assert np.array_equal(painted(ticket), alone(lone, request))
    fake.close()


def test_four_submitted_together_make_10_calls_of_8_rows(
    scheduler: Scheduler, fake: Pipeline, request_of: Request
) -> None:
    tickets = [scheduler.submit(replace(request_of, seed=seed)) for seed in range(4)]
    scheduler.drain()
    assert fake.denoiser.engine.rows == [8] * 10
    assert {ticket.status for ticket in tickets} == {DONE}


def test_one_that_comes_between_two_steps_takes_part_in_the_next_pass(
    scheduler: Scheduler, fake: Pipeline, request_of: Request
) -> None:
    scheduler.submit(request_of)
    for _ in range(3):
        scheduler.step()
    fake.denoiser.engine.rows.clear()
    fake.text.encode("b")  # a unit a step is what others are held up by
    fake.text.encode("")
    late = scheduler.submit(replace(request_of, prompt="b", guidance_scale=1.0))
    scheduler.step()
    assert fake.denoiser.engine.rows == [3]
    assert late.job is not None
    assert late.job.evaluation == 1


def test_one_of_one_step_beside_one_of_ten_is_done_first(
    scheduler: Scheduler, fake: Pipeline, request_of: Request
) -> None:
    """Its picture is decoded while the other goes on."""
    long = scheduler.submit(request_of)
    short = scheduler.submit(replace(request_of, seed=2, steps=1))
    while not short.ended:
        scheduler.step()
    assert long.job is not None
    assert long.job.evaluation <= 3


@pytest.mark.parametrize("threaded", [False, True])
def test_threads_that_call_one_pipeline_share_calls(
    fake: Pipeline, lone: Pipeline, picture: Pixels, threaded: bool
) -> None:
    if threaded:
        fake.model.scheduler.start()
    together = Barrier(4)
    options = {"steps": 10, "strength": 1.0, "sampler": "euler_a"}
    counted: Any = None

    def first_call(feeds: Any) -> None:
        """Wait in the first call of all until the others have come."""
        if len(counted.rows) == 1:
            until(lambda: len(fake.model.scheduler.tickets) == 4)

    counted = fake.denoiser.engine = Counting(fake.denoiser.engine, first_call)

    def paint(seed: int) -> Pixels:
        together.wait()
        return np.asarray(fake(picture, "a", seed=seed, **options).images[0])

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(paint, range(4)))
    assert sum(counted.rows) == 4 * 10 * 2
    assert len(counted.rows) <= 14
    for seed, pixels in enumerate(made):
        assert np.array_equal(pixels, np.asarray(lone(picture, "a", seed=seed, **options).images[0]))
    fake.close()


LARGE = np.random.default_rng(1).integers(0, 256, (96, 160, 3), np.uint8)


@pytest.mark.parametrize("stage", ["encoder", "decoder"])
def test_a_large_picture_stalls_a_pass_by_one_unit_at_most(fake: Pipeline, request_of: Request, stage: str) -> None:
    """Where a pass takes no time, one unit, a window of the VAE, comes between it and the next."""
    fake.vae._tile, fake.vae._overlap = 64, 8
    scheduler, log = fake.model.scheduler, list[str]()
    fake.denoiser.engine = Counting(fake.denoiser.engine, lambda feeds: log.append("pass"))
    setattr(fake.vae, stage, Counting(getattr(fake.vae, stage), lambda feeds: log.append("unit")))
    for prompt in "ab":
        fake.text.encode(prompt)
    other = scheduler.submit(replace(request_of, steps=60))
    scheduler.step()
    log.clear()
    large = scheduler.submit(replace(request_of, image=overpaint.read(LARGE), prompt="b", steps=2, strength=0.5))
    while not large.ended:
        scheduler._worker._last_pass = 0.0
        scheduler.step()
    assert not other.ended
    assert log.count("unit") == 9
    assert "unit unit" not in " ".join(log)


def test_all_that_wait_are_encoded_before_the_first_pass(
    scheduler: Scheduler, fake: Pipeline, request_of: Request
) -> None:
    for seed in range(8):
        scheduler.submit(replace(request_of, prompt=f"{'abcdefgh'[seed]}", seed=seed, strength=0.5))
    scheduler.step()
    assert fake.denoiser.engine.rows == [16]


def test_drain_waits_for_all_and_leaves_nothing(scheduler: Scheduler, request_of: Request) -> None:
    tickets = [scheduler.submit(replace(request_of, seed=seed)) for seed in range(40)]
    scheduler.drain()
    assert all(ticket.status == DONE for ticket in tickets)
    assert scheduler.tickets == ()
    assert scheduler.step() == []


def test_events_tell_what_becomes_of_a_ticket(scheduler: Scheduler, request_of: Request) -> None:
    ticket = scheduler.submit(replace(request_of, steps=2))
    scheduler.drain()
    told = [ticket.events.take() for _ in range(len(ticket.events))]
    assert [event.status for event in told if event] == ["encoding", *["denoising"] * 3, DECODING, DONE]
    assert [event.step.index for event in told if event and event.step] == [0, 1]
    assert ticket.events.take() is None
