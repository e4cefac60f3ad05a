"""Who comes first: deadlines, priorities, arrival; and that nobody waits for ever."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from overpaint import Pipeline, Request
from overpaint.runtime.model.model import Model
from overpaint.runtime.model.queue import PATIENCE
from overpaint.runtime.model.scheduler import Scheduler
from overpaint.runtime.model.tickets import Ticket


def narrow(pipe: Pipeline, max_active: int = 1) -> Scheduler:
    """A scheduler of a pipeline's stages that works on so many at once."""
    return Model(pipe.model.stages, pipe.model.schedule, max_active=max_active).scheduler


def ended_in_order(scheduler: Scheduler) -> list[Any]:
    """The tickets in the order in which they end."""
    ended = []
    while scheduler.tickets:
        ended += [event.ticket for event in scheduler.step() if event.ticket.ended]
    return ended


def test_deadlines_come_first_then_priorities_then_arrival(fake: Pipeline, request_of: Request) -> None:
    scheduler, now = narrow(fake), time.monotonic()
    wanted = {"third": (None, 5), "fifth": (None, 0), "first": (now + 1000, -3), "second": (now + 2000, 9)}
    wanted |= {"fourth": (None, 5), "sixth": (None, 0), "last": (None, -1)}
    short = replace(request_of, steps=2)
    names = {
        scheduler.submit(short, deadline=deadline, priority=priority): name
        for name, (deadline, priority) in wanted.items()
    }
    order = ["first", "second", "third", "fourth", "fifth", "sixth", "last"]
    assert [names[ticket] for ticket in ended_in_order(scheduler)] == order


@pytest.mark.parametrize("max_active", [1, 3])
def test_at_most_so_many_are_worked_on_at_once(fake: Pipeline, request_of: Request, max_active: int) -> None:
    scheduler = narrow(fake, max_active)
    tickets = [scheduler.submit(replace(request_of, seed=seed)) for seed in range(5)]
    for _ in range(3):
        scheduler.step()
    assert [ticket.job is not None for ticket in tickets] == [place < max_active for place in range(5)]


@pytest.mark.parametrize("urgent", ["priority", "deadline"])
def test_one_is_admitted_after_patience_passes_and_those_of_who_came_before(
    fake: Pipeline, request_of: Request, urgent: str
) -> None:
    """The bound: `PATIENCE` passes, what is left of the one then at work, and those of the ones that came before it."""
    scheduler, steps = narrow(fake), 5

    def arrive(**how: Any) -> Any:
        return scheduler.submit(replace(request_of, steps=steps, guidance_scale=1.0), **how)

    before, low = arrive(), arrive(priority=-9)
    passes = 0
    while low.status == "waiting":
        if len(scheduler.tickets) < 6:
            arrive(**({"priority": 1} if urgent == "priority" else {"deadline": time.monotonic() + 1000}))
        passes += any(event.step for event in scheduler.step())
        assert passes <= PATIENCE + 2 * steps
    assert before.ended
    assert passes >= PATIENCE


def test_units_go_round(fake: Pipeline, request_of: Request) -> None:
    """Of two large pictures each has a unit in turn, the more urgent first."""
    scheduler, log = fake.model.scheduler, list[int]()
    tickets = [scheduler.submit(replace(request_of, seed=seed), priority=seed) for seed in range(2)]
    run = scheduler._worker._run_unit
    scheduler._worker._run_unit = lambda ticket, events: (log.append(tickets.index(ticket)), run(ticket, events))[1]  # type: ignore[method-assign, func-returns-value]
    scheduler.step()
    assert log[:4] == [1, 0, 1, 0]


def test_served_ones_are_forgotten(fake: Pipeline, request_of: Request) -> None:
    scheduler = fake.model.scheduler
    for _ in range(5):
        for seed in range(10):
            scheduler.submit(replace(request_of, seed=seed, steps=2))
        scheduler.drain()
    assert len(scheduler._queue._served) <= 10


def test_a_newcomer_is_encoded_in_two_units(fake: Pipeline, request_of: Request) -> None:
    """Its prompt, and its picture with the job that is made of it: between passes that are short it misses one."""
    scheduler, log = fake.model.scheduler, list[int]()
    run = scheduler._worker._run_unit
    scheduler._worker._run_unit = lambda ticket, events: (log.append(ticket.id), run(ticket, events))[1]  # type: ignore[method-assign, func-returns-value]
    ticket = scheduler.submit(replace(request_of, guidance_scale=1.0, prompt="q r s"))
    scheduler.step()
    assert log == [ticket.id] * 2


def test_clients_take_turns(fake: Pipeline, request_of: Request) -> None:
    scheduler = narrow(fake, 2)
    short = replace(request_of, steps=2)
    names: dict[Any, str] = {}

    def arrive(client: str, name: str, **how: Any) -> None:
        ticket = Ticket(fake.model.painting(short), client=client, **how)
        names[scheduler.add(ticket)] = name

    for number in range(6):
        arrive("flood", f"flood {number}", priority=9)
    scheduler.step()  # two of it are under way
    arrive("other", "other 0")
    arrive("other", "other 1", priority=1)
    ended = [names[ticket] for ticket in ended_in_order(scheduler)]
    assert set(ended[2:4]) == {"other 1", "flood 2"}
    assert set(ended[4:6]) == {"other 0", "flood 3"}
    assert ended[6:] == ["flood 4", "flood 5"]
