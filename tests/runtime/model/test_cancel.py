"""Tickets that are cancelled, awaited or too late; and that nothing of them stays behind."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import time
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import overpaint
from overpaint import InputError, Pipeline, Request
from overpaint.errors import CancelledError, RunTimeoutError
from overpaint.runtime.model import tickets as tickets_module
from overpaint.runtime.model.scheduler import Scheduler
from overpaint.runtime.model.tickets import CANCELLED, DONE, FAILED
from tests.support.engines import Counting, until
from tests.support.painting import Pixels, alone, painted


def test_the_rows_of_a_cancelled_one_are_gone_by_the_next_step(
    scheduler: Scheduler, fake: Pipeline, request_of: Request
) -> None:
    kept, cancelled = (scheduler.submit(replace(request_of, seed=seed)) for seed in range(2))
    scheduler.step()
    assert cancelled.cancel()
    scheduler.step()
    assert fake.denoiser.engine.rows == [4, 2]
    assert (kept.status, cancelled.status) == ("denoising", CANCELLED)
    with pytest.raises(CancelledError):
        cancelled.future.result(0)


def test_one_cancelled_before_it_begins_never_does(scheduler: Scheduler, fake: Pipeline, request_of: Request) -> None:
    ticket = scheduler.submit(request_of)
    assert ticket.cancel()
    assert ticket.cancel()
    scheduler.step()
    assert ticket.status == CANCELLED
    assert not fake.denoiser.engine.rows
    assert not ticket.cancel()


@pytest.mark.parametrize("how", ["ticket", "future", "close"])
def test_no_unit_follows_a_cancel(fake: Pipeline, request_of: Request, how: str) -> None:
    """Where nobody denoises, all that wait are encoded in one step; a cancel does not wait for its end."""
    large = overpaint.read(np.random.default_rng(1).integers(0, 256, (96, 160, 3), np.uint8))
    fake.vae._tile, fake.vae._overlap = 64, 8
    request = replace(request_of, image=large, strength=0.5)
    tickets: list[Any] = []
    cancels = {"ticket": lambda: tickets[0].cancel(), "future": lambda: tickets[0].future.cancel(), "close": fake.close}
    encoder = fake.vae.encoder = Counting(fake.vae.encoder)
    encoder.before = lambda feeds: cancels[how]() if len(encoder.rows) == 4 else None
    tickets += [
        fake.model.submit(request),
        *(fake.model.submit(replace(request, seed=7)) for _ in range(how == "close")),
    ]
    fake.model.scheduler.step()
    fake.model.scheduler.step()
    assert len(encoder.rows) == 4
    assert {ticket.status for ticket in tickets} == {CANCELLED}


def test_what_is_no_request_and_a_ticket_that_was_added_are_refused(scheduler: Scheduler, request_of: Request) -> None:
    with pytest.raises(InputError, match="a request is submitted, not dict"):
        scheduler.submit({"prompt": "a"})  # type: ignore[call-overload]
    ticket = scheduler.submit(request_of)
    with pytest.raises(InputError, match="was submitted before"):
        scheduler.add(ticket)
    assert scheduler.tickets == (ticket,)


def test_one_that_has_ended_is_not_cancelled(scheduler: Scheduler, request_of: Request) -> None:
    ticket = scheduler.submit(request_of)
    scheduler.drain()
    assert not ticket.cancel()
    scheduler.step()
    assert ticket.status == DONE
    assert painted(ticket).size


@pytest.mark.parametrize("steps", [0, 3])
def test_a_cancelled_future_cancels_its_ticket_and_wakes_who_waits(
    scheduler: Scheduler, request_of: Request, steps: int
) -> None:
    ticket = scheduler.submit(request_of)
    for _ in range(steps):
        scheduler.step()
    assert ticket.future.cancel()
    scheduler.step()
    assert ticket.status == CANCELLED
    assert concurrent.futures.wait([ticket.future], 1).done == {ticket.future}
    with pytest.raises(CancelledError):
        scheduler.wait(ticket)


def test_asyncio_awaits_pictures_beside_one_another(fake: Pipeline, lone: Pipeline, request_of: Request) -> None:
    scheduler = fake.model.scheduler
    scheduler.start()
    requests = [replace(request_of, seed=seed) for seed in range(4)]

    async def paint() -> list[Any]:
        return await asyncio.gather(*(asyncio.wrap_future(scheduler.submit(each).future) for each in requests))

    for request, output in zip(requests, asyncio.run(paint()), strict=True):
        assert np.array_equal(np.asarray(output.image), alone(lone, request))
    fake.close()


def test_what_asyncio_cancels_ends(fake: Pipeline, request_of: Request) -> None:
    scheduler = fake.model.scheduler
    scheduler.start()
    with scheduler.exclusive():
        ticket = scheduler.submit(request_of)
        fake.denoiser.engine = Counting(fake.denoiser.engine, lambda feeds: until(ticket.future.cancelled))

    async def leave() -> None:
        await asyncio.wait_for(asyncio.wrap_future(ticket.future), 0.05)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(leave())
    scheduler.drain()
    assert ticket.status == CANCELLED
    assert fake.denoiser.engine.rows == [2]
    fake.close()


@pytest.mark.parametrize("late", [-1.0, 0.0, float("nan"), float("-inf"), "soon", True], ids=str)
def test_a_deadline_that_cannot_be_is_refused_by_name(scheduler: Scheduler, request_of: Request, late: Any) -> None:
    deadline = time.monotonic() + late if type(late) is float else late
    with pytest.raises(InputError, match="deadline") as caught:
        scheduler.submit(request_of, deadline=deadline)
    assert caught.value.field == "deadline"
    assert scheduler.tickets == ()


@pytest.mark.parametrize("priority", ["high", None, 0.5, float("nan")], ids=str)
def test_a_priority_that_orders_nothing_is_refused(scheduler: Scheduler, request_of: Request, priority: Any) -> None:
    with pytest.raises(InputError, match="priority must be a whole number") as caught:
        scheduler.submit(request_of, priority=priority)
    assert caught.value.field == "priority"


@pytest.mark.parametrize(("steps", "where"), [(0, "before its first evaluation"), (3, "after 3 of 10 evaluations")])
def test_a_deadline_that_passes_ends_its_ticket_alone(
    scheduler: Scheduler, request_of: Request, monkeypatch: pytest.MonkeyPatch, steps: int, where: str
) -> None:
    late = scheduler.submit(request_of, deadline=time.monotonic() + 1000)
    other = scheduler.submit(replace(request_of, seed=2))
    for _ in range(steps):
        scheduler.step()
    later = time.monotonic() + 2000
    monkeypatch.setattr(tickets_module.time, "monotonic", lambda: later)
    scheduler.step()
    assert late.status == FAILED
    with pytest.raises(RunTimeoutError, match=where):
        late.future.result(0)
    assert other.job is not None
    scheduler.drain()
    assert other.status == DONE


def test_a_wait_that_takes_too_long_ends_nothing(scheduler: Scheduler, request_of: Request) -> None:
    ticket = scheduler.submit(request_of)
    with pytest.raises(TimeoutError, match="has not ended after 0 s"):
        ticket.result(0)
    assert ticket.result().image.size == (56, 40)


def test_a_thousand_cancelled_runs_leave_nothing_behind(fake: Pipeline, picture: Pixels) -> None:
    scheduler, runs = fake.model.scheduler, []
    fake(picture, "a", seed=1, steps=2)
    caches = [len(cache._values) for cache in (fake.text._cache, fake.vae._cache)]
    for index in range(1000):
        run = fake.start(picture, "a", seed=1, steps=6)
        runs.append(weakref.ref(run))
        if index % 4 == 0:
            run.cancel()
        for step in run:
            if step.index == index % 3:
                break
            run.cancel()
    del run, step
    gc.collect()
    assert not any(run() for run in runs)
    assert scheduler.tickets == ()
    assert scheduler.step() == []
    assert not scheduler._queue.active
    assert len(scheduler._queue._served) <= 1
    assert not scheduler._graphs._known
    assert [len(cache._values) for cache in (fake.text._cache, fake.vae._cache)] == caches
