"""Interrupts of the thread that drives, which may have other threads' tickets in hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from overpaint import EngineError, Pipeline, Request
from tests.support.engines import Counting
from tests.support.painting import alone, painted


@pytest.mark.parametrize("graph", ["text_encoder", "vae_encoder", "unet", "vae_decoder"])
def test_an_interrupt_of_who_drives_changes_nobodys_picture(
    fake: Pipeline, lone: Pipeline, request_of: Request, graph: str
) -> None:
    """As Ctrl-C in the main thread, which happens to drive other threads' tickets."""
    left = [1]

    def interrupt(feeds: Any) -> None:
        if left and left.pop():
            raise KeyboardInterrupt

    requests = [replace(request_of, strength=0.5, seed=seed, prompt="f") for seed in range(3)]
    tickets = [fake.model.submit(request) for request in requests]
    seats = {"text_encoder": (fake.text, "engine"), "unet": (fake.denoiser, "engine")}
    seat = seats.get(graph, (fake.vae, graph.removeprefix("vae_")))
    setattr(*seat, Counting(getattr(*seat), interrupt))
    with pytest.raises(KeyboardInterrupt):
        fake.model.scheduler.drain()
    fake.model.scheduler.drain()
    for request, ticket in zip(requests, tickets, strict=True):
        assert np.array_equal(painted(ticket), alone(lone, request))


def test_a_job_that_an_interrupt_cuts_says_so_and_the_others_go_on(
    fake: Pipeline, lone: Pipeline, request_of: Request
) -> None:
    tickets = [fake.model.submit(replace(request_of, seed=seed)) for seed in range(3)]
    fake.model.scheduler.step()
    state = tickets[1].job.state
    take = state.take

    def cut(*given: Any) -> None:
        take(*given)
        raise KeyboardInterrupt

    state.take = cut
    with pytest.raises(KeyboardInterrupt):
        fake.model.scheduler.step()
    state.take = take
    fake.model.scheduler.drain()
    with pytest.raises(EngineError, match="interrupted half-way"):
        painted(tickets[1])
    for seed in (0, 2):
        assert np.array_equal(painted(tickets[seed]), alone(lone, replace(request_of, seed=seed)))


def test_an_interrupt_after_the_last_evaluation_leaves_the_job_to_be_decoded(
    fake: Pipeline, lone: Pipeline, request_of: Request
) -> None:
    scheduler = fake.model.scheduler
    tickets = [fake.model.submit(request_of), fake.model.submit(replace(request_of, seed=2))]
    told, tell = [], scheduler._worker._tell

    def interrupted(event: Any, events: Any) -> None:
        tell(event, events)
        if event.step and event.step.index == 9 and not told:
            told.append(event)
            raise KeyboardInterrupt

    scheduler._worker._tell = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        scheduler.drain()
    scheduler.drain()
    for seed, ticket in enumerate(tickets, 1):
        assert np.array_equal(painted(ticket), alone(lone, replace(request_of, seed=seed)))
