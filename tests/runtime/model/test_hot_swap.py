"""Engines that take over while requests keep coming."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from overpaint import Pipeline, Request
from overpaint.bundles.tensor import Array
from overpaint.engines.base import Engine
from overpaint.engines.hot_swap import HotSwap
from overpaint.engines.wrapper import Wrapper
from overpaint.runtime.model import worker as worker_module
from overpaint.runtime.model.tickets import Ticket
from tests.support.painting import alone, painted


class Better(Wrapper):
    """A faster engine, of a precision that may round otherwise."""

    label = "better"

    def __init__(self, engine: Engine, precision: str) -> None:
        super().__init__(engine)
        self.calls, self._precision = 0, precision

    @property
    def precision(self) -> str:
        return self._precision

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.calls += 1
        factor = np.float32(1 if self._precision == self.engine.precision else 1.001)
        return {name: array * factor for name, array in super().__call__(feeds).items()}


class Load:
    """A pipeline of which three requests are always under way; after `ready` steps there is a faster engine."""

    def __init__(self, pipe: Pipeline, request: Request, precision: str, ready: int = 20) -> None:
        self.first = pipe.denoiser.engine
        self.better = Better(self.first, precision)
        self.scheduler, self._request, self._ready = pipe.model.scheduler, request, ready
        self.swap = pipe.denoiser.engine = HotSwap(self.first, lambda: self.better if self.steps >= ready else None)
        self.steps = 0
        self.tickets: list[Ticket[Any]] = []

    def step(self) -> None:
        for _ in range(3 - len(self.scheduler.tickets)):
            self.tickets.append(self.scheduler.submit(replace(self._request, seed=len(self.tickets))))
        self.steps += 1
        self.scheduler.step()

    def until_taken_over(self) -> int:
        """How many steps it took from when the engine was ready."""
        while self.swap.engine is self.first:
            self.step()
        return self.steps - self._ready

    def finish(self) -> list[Ticket[Any]]:
        for _ in range(5):
            self.step()
        self.scheduler.drain()
        return self.tickets


def test_one_of_the_same_precision_takes_over_at_once(fake: Pipeline, lone: Pipeline, request_of: Request) -> None:
    load = Load(fake, request_of, fake.denoiser.engine.precision)
    assert load.until_taken_over() == 0
    for seed, ticket in enumerate(load.finish()):
        assert np.array_equal(painted(ticket), alone(lone, replace(request_of, seed=seed)))
    assert load.better.calls > 0


def test_one_of_another_precision_takes_over_once_those_under_way_are_done(
    fake: Pipeline, lone: Pipeline, request_of: Request
) -> None:
    """No picture is of two engines, and it takes no longer than the longest that was under way and its decoding."""
    load = Load(fake, request_of, "rounded")
    assert load.until_taken_over() <= 10 + 5
    tickets = load.finish()
    lone_better = lone.denoiser.engine, Better(lone.denoiser.engine, "rounded")
    made = [0, 0]
    for seed, ticket in enumerate(tickets):
        request, matches = replace(request_of, seed=seed), []
        for lone.denoiser.engine in lone_better:
            matches.append(np.array_equal(painted(ticket), alone(lone, request)))
        assert any(matches)
        made[matches.index(True)] += 1
    assert all(made)


def test_a_drain_is_bounded_and_tried_again(
    fake: Pipeline, request_of: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one under way takes longer than a drain, the others are admitted meanwhile.

    The engine takes over after that one, a time in which they are admitted, and one in which they are not.
    """
    drain = 8
    monkeypatch.setattr(worker_module, "DRAIN_STEPS", drain)
    long = fake.model.submit(replace(request_of, steps=45))
    load = Load(fake, replace(request_of, steps=2), "rounded", ready=1)
    done = []
    while not long.ended:
        load.step()
        done.append(sum(ticket.ended for ticket in load.tickets))
    waited = max(sum(1 for each in done if each == count) for count in set(done))
    assert waited <= drain + 6
    assert done[-1] > 4
    assert load.until_taken_over() <= 45 + 2 * drain + 5
