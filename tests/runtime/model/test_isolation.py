"""A failure is its own ticket's: NaN, what an engine refuses, memory, callbacks; the others' pictures stay the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import overpaint
from overpaint import EngineError, ModelOutputError, Pipeline, Request
from overpaint.engines.wrapper import Wrapper
from overpaint.errors import CancelledError, OutOfMemoryError, OverpaintError
from overpaint.runtime.model.scheduler import Scheduler
from overpaint.runtime.model.tickets import DENOISING, DONE, FAILED, Ticket
from tests.runtime.denoising.test_device import OnDevice, device  # noqa: F401
from tests.support.engines import Counting, Feeds, Spoiling, has_rows_of
from tests.support.painting import alone, painted

GUILTY = 3


def eight(request: Request) -> list[Request]:
    """Requests of which one has a prompt of its own, "q"."""
    return [replace(request, seed=seed, prompt="q" if seed == GUILTY else "a") for seed in range(8)]


def failed(scheduler: Scheduler, lone: Pipeline, requests: list[Request]) -> Exception:
    """What the guilty one fails with, after the others' pictures were compared with those made alone."""
    tickets = [scheduler.submit(request) for request in requests]
    scheduler.drain()
    assert [ticket.status for ticket in tickets] == [FAILED if seed == GUILTY else DONE for seed in range(8)]
    for request, ticket in zip(requests, tickets, strict=True):
        if ticket.status == DONE:
            assert np.array_equal(painted(ticket), alone(lone, request))
    error = tickets[GUILTY].future.exception()
    assert isinstance(error, Exception)
    return error


class Refusing(Wrapper):
    """Refuses a call for what its feeds are."""

    def __init__(self, engine: Any, refused: Callable[[Feeds], bool], error: Exception) -> None:
        super().__init__(engine)
        self.refused, self.error, self.calls = refused, error, 0

    def __call__(self, feeds: Feeds) -> dict[str, Any]:
        self.calls += 1
        if self.refused(feeds):
            raise self.error
        return super().__call__(feeds)


def any_row(is_guilty: Callable[[Mapping[str, Any]], bool]) -> Callable[[Feeds], bool]:
    """Whether a call has a guilty row."""
    return lambda feeds: any(
        is_guilty({name: array[index] for name, array in feeds.items()}) for index in range(len(feeds["sample"]))
    )


def test_nan_of_one_prompt_fails_that_one_alone(fake: Pipeline, lone: Pipeline, request_of: Request) -> None:
    fake.denoiser.engine = Spoiling(fake.denoiser.engine, has_rows_of(fake.text.encode("q")[0]))
    error = failed(fake.model.scheduler, lone, eight(request_of))
    assert isinstance(error, ModelOutputError)
    assert "evaluation 1 of 10" in str(error)


@pytest.mark.parametrize(
    "error", [EngineError("not this"), RuntimeError("a fault"), OutOfMemoryError("full")], ids=repr
)
def test_a_row_that_the_engine_refuses_is_found_by_halving(
    fake: Pipeline, lone: Pipeline, request_of: Request, error: Exception
) -> None:
    guilty = any_row(has_rows_of(fake.text.encode("q")[0]))
    engine = fake.denoiser.engine = Refusing(fake.denoiser.engine, guilty, error)
    assert failed(fake.model.scheduler, lone, eight(request_of)) is error
    memory = isinstance(error, OutOfMemoryError)
    assert engine.calls == (9 + 9 * 14 if memory else 9 + 9)
    assert fake.denoiser.max_rows == (1 if memory else 16)


def test_a_shape_that_the_engine_refuses_fails_those_of_that_shape(
    fake: Pipeline, lone: Pipeline, request_of: Request
) -> None:
    small = overpaint.read(np.zeros((32, 32, 3), np.uint8))
    engine = fake.denoiser.engine
    fake.denoiser.engine = Refusing(engine, lambda feeds: feeds["sample"].shape[-1] == 8, EngineError("not that size"))
    requests = eight(request_of)
    requests[GUILTY] = replace(requests[GUILTY], image=small)
    assert "not that size" in str(failed(fake.model.scheduler, lone, requests))


def test_a_call_that_memory_does_not_suffice_for_lowers_the_limit_and_fails_nobody(
    fake: Pipeline, lone: Pipeline, request_of: Request
) -> None:
    counted = Counting(fake.denoiser.engine)
    fake.denoiser.engine = Refusing(counted, lambda feeds: len(feeds["sample"]) > 5, OutOfMemoryError("full"))
    tickets = [fake.model.submit(request) for request in eight(request_of)]
    fake.model.scheduler.drain()
    for request, ticket in zip(eight(request_of), tickets, strict=True):
        assert np.array_equal(painted(ticket), alone(lone, request))
    assert fake.denoiser.max_rows == 4
    assert counted.rows == [4] * 40
    assert fake.denoiser.engine.calls == 40 + 3


@pytest.mark.parametrize("stage", ["encode", "denoise", "decode"])
def test_a_progress_callback_that_raises_fails_its_own_ticket(
    fake: Pipeline, lone: Pipeline, request_of: Request, stage: str
) -> None:
    class StopError(Exception):
        pass

    def progress(at: str, done: int, total: int) -> None:
        if at == stage:
            raise StopError

    request = replace(request_of, strength=0.5)
    works = [fake.model.painting(request, progress=progress), fake.model.painting(replace(request, seed=2))]
    bad, good = (fake.model.scheduler.submit(work) for work in works)
    fake.model.scheduler.drain()
    assert (bad.status, good.status) == (FAILED, DONE)
    with pytest.raises(StopError):
        bad.future.result(0)
    assert np.array_equal(painted(good), alone(lone, replace(request, seed=2)))


IS_GUILTY: dict[str, Callable[[Feeds], bool]] = {
    "text_encoder": lambda feeds: bool((feeds["input_ids"] == 3 + 5).any()),  # the word "f"
    "vae_encoder": lambda feeds: feeds["pixels"].shape[-1] == 32,
    "vae_decoder": lambda feeds: feeds["latents"].shape[-1] == 8,
}


@pytest.mark.parametrize("graph", IS_GUILTY)
def test_an_encoding_or_decoding_that_fails_is_its_own_tickets(
    fake: Pipeline, lone: Pipeline, request_of: Request, graph: str
) -> None:
    other = replace(request_of, strength=0.5)
    request = replace(other, image=overpaint.read(np.zeros((32, 32, 3), np.uint8)), prompt="f")
    seat = {"text_encoder": (fake.text, "engine")}.get(graph, (fake.vae, graph.removeprefix("vae_")))
    engine = Refusing(getattr(*seat), IS_GUILTY[graph], EngineError("once"))
    setattr(*seat, engine)
    bad, good = (fake.model.submit(each) for each in (request, other))
    fake.model.scheduler.drain()
    assert (bad.status, good.status) == (FAILED, DONE)
    assert np.array_equal(painted(good), alone(lone, other))
    engine.refused = lambda feeds: False
    assert np.array_equal(painted(_again(fake, request)), alone(lone, request))


def _again(pipe: Pipeline, request: Request) -> Ticket[Any]:
    ticket = pipe.model.submit(request)
    pipe.model.scheduler.drain()
    return ticket


@pytest.mark.usefixtures("cupy")
def test_only_cached_encodings_that_are_not_finite_are_let_go_of(device: Pipeline, request_of: Request) -> None:  # noqa: F811
    """On a device, where nobody has looked at an encoding before what became of it was waited for."""
    device.text.encode("a")
    spoilt, encoder = OnDevice(device.text.engine.engine, good=0), device.text.engine
    device.text.engine = spoilt
    bad = device.model.submit(replace(request_of, prompt="q", guidance_scale=1.0))
    device.model.scheduler.step()
    device.text.engine = encoder
    good = device.model.submit(replace(request_of, guidance_scale=1.0))
    device.model.scheduler.drain()
    assert (bad.status, good.status) == (FAILED, DONE)
    with pytest.raises(ModelOutputError, match="text_encoder returned NaN"):
        bad.future.result(0)
    assert device.text.encode("a")[1]
    assert not device.text.encode("q")[1]


class Polled(Wrapper):
    """An engine whose poll fails on demand."""

    fails = False

    def poll(self, idle: bool = False) -> None:
        if self.fails:
            raise RuntimeError("no disk")


def test_a_poll_that_raises_fails_those_under_way(fake: Pipeline, request_of: Request) -> None:
    engine = fake.denoiser.engine = Polled(fake.denoiser.engine)
    tickets = [fake.model.submit(replace(request_of, seed=seed)) for seed in range(2)]
    engine.fails = True
    with pytest.raises(RuntimeError, match="no disk"):
        fake.model.scheduler.step()
    assert [str(ticket.future.exception(0)) for ticket in tickets] == ["no disk"] * 2
    engine.fails = False
    assert fake.model.submit(request_of).result().image


def test_a_poll_that_raises_does_not_end_the_thread(
    fake: Pipeline, request_of: Request, caplog: pytest.LogCaptureFixture
) -> None:
    engine = fake.denoiser.engine = Polled(fake.denoiser.engine)
    scheduler = fake.model.scheduler
    scheduler.start()
    engine.fails = True
    with caplog.at_level(logging.CRITICAL), pytest.raises(RuntimeError, match="no disk"):
        scheduler.submit(request_of).future.result(10)
    engine.fails = False
    assert scheduler.submit(request_of).future.result(10).image
    fake.close()


def test_a_callback_that_exits_does_not_end_the_thread(fake: Pipeline, request_of: Request) -> None:
    def leave(*_: Any) -> None:
        raise SystemExit(3)

    scheduler = fake.model.scheduler
    scheduler.start()
    with pytest.raises(OverpaintError, match="a callback raised SystemExit"):
        scheduler.submit(fake.model.painting(request_of, progress=leave)).result(10)
    assert scheduler.submit(request_of).result(10).image
    fake.close()


def test_a_futures_callback_that_exits_ends_nobodys_work(
    fake: Pipeline, request_of: Request, caplog: pytest.LogCaptureFixture
) -> None:
    def leave(_: Any) -> None:
        raise SystemExit(3)

    scheduler = fake.model.scheduler
    first, second = scheduler.submit(request_of), scheduler.submit(replace(request_of, seed=2))
    first.future.add_done_callback(leave)
    with caplog.at_level(logging.CRITICAL):
        scheduler.start()
        assert second.result(10).image
    assert first.status == "done"
    fake.close()


def test_closing_from_a_futures_callback_cancels_the_others(fake: Pipeline, request_of: Request) -> None:
    scheduler = fake.model.scheduler
    first, second = scheduler.submit(replace(request_of, strength=0.0)), scheduler.submit(request_of)
    first.future.add_done_callback(lambda _: fake.close())
    assert first.result(10).image
    with pytest.raises(CancelledError):
        second.result(10)


def test_a_status_is_denoising_while_a_job_is_on_its_way(scheduler: Scheduler, request_of: Request) -> None:
    ticket = scheduler.submit(request_of)
    assert ticket.status == "waiting"
    scheduler.step()
    assert ticket.status == DENOISING
    assert repr(ticket) == f"Ticket({ticket.id}, denoising)"
