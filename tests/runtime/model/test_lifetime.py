"""A scheduler from its thread to its end: close, fork, callbacks that call back, two models."""

from __future__ import annotations

import gc
import multiprocessing
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import overpaint
from overpaint import Pipeline, Request
from overpaint.errors import CancelledError, ClosedError, InputError
from overpaint.runtime.model.tickets import CANCELLED, DONE
from tests.runtime.denoising.test_device import OnDevice, device  # noqa: F401
from tests.support.engines import Counting, until
from tests.support.painting import Pixels, alone


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "overpaint-scheduler"]


class TestClose:
    @pytest.mark.parametrize("threaded", [False, True])
    def test_no_thread_is_left_and_who_waits_is_told(self, fake: Pipeline, request_of: Request, threaded: bool) -> None:
        scheduler = fake.model.scheduler
        if threaded:
            scheduler.start()
            scheduler.start()
            assert len(own_threads()) == 1
        tickets = [scheduler.submit(replace(request_of, seed=seed, steps=900)) for seed in range(40)]
        fake.close()
        assert not own_threads()
        assert scheduler.closed
        assert scheduler.tickets == ()
        for ticket in tickets:
            assert ticket.status == CANCELLED
            with pytest.raises(CancelledError):
                ticket.future.result(0)
        fake.close()

    def test_an_idle_thread_ends(self, fake: Pipeline) -> None:
        fake.model.scheduler.start()
        fake.close()
        assert not own_threads()

    def test_nothing_is_taken_afterwards(self, fake: Pipeline, picture: Pixels, request_of: Request) -> None:
        run = fake.start(picture, "a")
        fake.close()
        calls: list[Callable[[], Any]] = [
            lambda: fake.model.submit(request_of),
            lambda: fake(picture, "a"),
            lambda: list(run),
            lambda: fake.model.encode_prompt("a"),
            fake.model.scheduler.start,
        ]
        for call in calls:
            with pytest.raises(ClosedError, match="load it again"):
                call()
        assert fake.model.scheduler.step() == []
        fake.model.scheduler.drain()

    @pytest.mark.parametrize("threaded", [False, True])
    def test_a_call_under_way_in_another_thread_is_cancelled(
        self, fake: Pipeline, picture: Pixels, threaded: bool
    ) -> None:
        """It does not return a result of fewer pictures."""
        if threaded:
            fake.model.scheduler.start()
        begun, scheduler = threading.Event(), fake.model.scheduler
        hold = lambda feeds: begun.set() or until(lambda: scheduler.closed)  # noqa: E731
        fake.denoiser.engine = Counting(fake.denoiser.engine, hold)
        with ThreadPoolExecutor(1) as another:
            call = another.submit(lambda: fake(picture, "a", n=3, strength=1))
            assert begun.wait(10)
            fake.close()
            with pytest.raises(CancelledError):
                call.result(10)

    def test_a_run_that_is_iterated_raises(self, fake: Pipeline, picture: Pixels) -> None:
        steps = iter(fake.start(picture, "a"))
        next(steps)
        fake.close()
        with pytest.raises(CancelledError):
            list(steps)

    def test_a_future_that_closes_the_model_ends_the_others(self, fake: Pipeline, request_of: Request) -> None:
        first = fake.model.submit(replace(request_of, steps=2))
        others = [fake.model.submit(replace(request_of, seed=seed)) for seed in range(3)]
        first.future.add_done_callback(lambda _: fake.close())
        while not first.ended:
            fake.model.scheduler.step()
        assert first.status == DONE
        assert all(ticket.ended for ticket in others)
        assert fake.model.scheduler.tickets == ()


class TestCallbacks:
    @pytest.mark.parametrize("threaded", [False, True])
    @pytest.mark.parametrize("which", ["its own", "another"])
    def test_one_that_waits_for_a_model_fails_with_the_reason(
        self, fake: Pipeline, lone: Pipeline, picture: Pixels, request_of: Request, threaded: bool, which: str
    ) -> None:
        """On a GPU the one would hold the device that the other needs."""
        scheduler, pipe = fake.model.scheduler, fake if which == "its own" else lone
        if threaded:
            scheduler.start()
        work = fake.model.painting(request_of, progress=lambda *_: pipe(picture, "a"))
        bad, good = scheduler.submit(work), scheduler.submit(replace(request_of, seed=2))
        scheduler.drain()
        with pytest.raises(InputError, match="a callback waits for a model while one calls it"):
            bad.future.result(0)
        assert good.status == DONE
        fake.close()

    def test_one_that_submits_and_returns_is_served(self, fake: Pipeline, request_of: Request) -> None:
        more = []

        def progress(stage: str, done: int, total: int) -> None:
            if stage == "decode":
                more.append(fake.model.submit(replace(request_of, seed=9)))

        fake.model.scheduler.submit(fake.model.painting(request_of, progress=progress))
        fake.model.scheduler.drain()
        assert [ticket.status for ticket in more] == [DONE]

    def test_a_step_may_call_the_pipeline(self, fake: Pipeline, lone: Pipeline, picture: Pixels) -> None:
        made = []
        result = fake(picture, "a", seed=1, steps=4, on_step=lambda _: made.append(fake(picture, "b", seed=2, steps=4)))
        for image, prompt, seed in [(result.images[0], "a", 1), *((each.images[0], "b", 2) for each in made)]:
            assert np.array_equal(np.asarray(image), np.asarray(lone(picture, prompt, seed=seed, steps=4).images[0]))

    def test_one_that_blocks_holds_up_the_thread_and_nothing_is_lost(
        self, fake: Pipeline, lone: Pipeline, request_of: Request
    ) -> None:
        scheduler, go = fake.model.scheduler, threading.Event()
        scheduler.start()
        bad = scheduler.submit(fake.model.painting(request_of, progress=lambda *_: go.wait(10) and None))
        other = scheduler.submit(replace(request_of, seed=2))
        with pytest.raises(TimeoutError):
            scheduler.wait(other, 0.05)
        go.set()
        assert np.array_equal(np.asarray(scheduler.wait(other).image), alone(lone, replace(request_of, seed=2)))
        assert scheduler.wait(bad)
        fake.close()


def _refusals(pipe: Pipeline, picture: Pixels, run: Any, steps: Any, sender: Any) -> None:
    """What each call raises in the child of a fork."""
    scheduler = pipe.model.scheduler
    calls: list[Callable[[], Any]] = [
        lambda: pipe(picture, "a"),
        lambda: list(run),
        lambda: next(steps),
        scheduler.step,
        scheduler.start,
        scheduler.drain,
        run.tickets[0].cancel,
        pipe.model.scheduler.close,
    ]
    told = []
    for call in calls:
        try:
            call()
            told.append("")
        except Exception as exc:  # noqa: BLE001
            told.append(f"{type(exc).__name__}: {exc}")
    sender.send(told)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("threaded", [False, True])
def test_a_fork_after_loading_is_refused_with_the_reason(fake: Pipeline, picture: Pixels, threaded: bool) -> None:
    if threaded:
        fake.model.scheduler.start()
    run, begun = (fake.start(picture, "a", seed=1) for _ in range(2))
    steps = iter(begun)
    next(steps)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(False)
    child = context.Process(target=_refusals, args=(fake, picture, run, steps, sender))
    with fake.model.scheduler._queue.lock:  # as another thread may hold it
        child.start()
    assert receiver.poll(30)
    told = receiver.recv()
    child.join(30)
    assert child.exitcode == 0
    assert all("load it after the fork, or start the process by 'spawn'" in each for each in told[:6]), told
    assert told[6:] == ["", ""]
    assert len(list(steps)) > 0
    fake.close()


@pytest.mark.usefixtures("cupy")
def test_two_models_on_one_device_work_from_two_threads(
    device: Pipeline,  # noqa: F811
    fake_folder: Path,
    lone: Pipeline,
    picture: Pixels,
) -> None:
    """They share nothing but the lock."""
    other = overpaint.load(fake_folder, engine="fake")
    other.denoiser.engine = OnDevice(other.denoiser.engine)
    pipes = [device, other]

    def paint(which: int) -> list[Pixels]:
        return [np.asarray(pipes[which](picture, "a", seed=seed, steps=6).images[0]) for seed in range(6)]

    with ThreadPoolExecutor(2) as threads:
        made = list(threads.map(paint, range(2)))
    wanted = [np.asarray(lone(picture, "a", seed=seed, steps=6).images[0]) for seed in range(6)]
    assert all(np.array_equal(each, wanted) for each in made)


def test_a_model_that_is_let_go_of_is_freed(fake_folder: Path, request_of: Request) -> None:
    pipe = overpaint.load(fake_folder, engine="fake")
    pipe.model.submit(request_of).result()
    pipe.model.scheduler.start()
    pipe.close()
    left = weakref.ref(pipe.model.scheduler)
    del pipe
    gc.collect()
    assert left() is None
