"""A run among others: at its reader's pace, left in the middle, between two steps."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import numpy as np
import pytest

from overpaint import Pipeline, Request
from overpaint.errors import CancelledError
from overpaint.runtime.execution.run import Run
from overpaint.runtime.model.model import Model
from tests.support.engines import Counting, until
from tests.support.painting import alone


@pytest.mark.parametrize("threaded", [False, True])
def test_a_run_that_is_dropped_in_the_middle_frees_its_rows(
    fake: Pipeline, request_of: Request, threaded: bool
) -> None:
    counted = fake.denoiser.engine = Counting(fake.denoiser.engine)
    if threaded:
        fake.model.scheduler.start()
    steps = iter(fake.run([request_of, replace(request_of, seed=2)]))
    next(steps)
    del steps
    gc.collect()
    fake.model.scheduler.drain()
    assert fake.model.scheduler.tickets == ()
    counted.rows.clear()
    assert fake.model.submit(replace(request_of, seed=3)).result()
    assert counted.rows == [2] * 10
    fake.close()


@pytest.mark.parametrize("threaded", [False, True])
def test_a_reader_that_waits_is_waited_for_while_others_go_on(
    fake: Pipeline, lone: Pipeline, request_of: Request, threaded: bool
) -> None:
    """It is never more than one evaluation ahead of what was read."""
    if threaded:
        fake.model.scheduler.start()
    run = fake.run([request_of])
    for count, step in enumerate(run, 1):
        other = replace(request_of, seed=count)
        with ThreadPoolExecutor(1) as another:
            made = np.asarray(another.submit(fake.model.submit(other).result).result(30).image)
        assert np.array_equal(made, alone(lone, other))
        [ticket] = run.tickets
        assert step.index == count - 1
        assert ticket.job is None or ticket.job.evaluation <= count + 1
    assert np.array_equal(np.asarray(run.result().images[0]), alone(lone, request_of))
    fake.close()


def test_iterators_that_nobody_reads_block_no_others(fake: Pipeline, lone: Pipeline, request_of: Request) -> None:
    """Not even as many as are worked on at once, where their iterators are held on to."""
    model = Model(fake.model.stages, fake.model.schedule, max_active=2)
    held = [iter(Run(model, [replace(request_of, seed=seed)])) for seed in range(5)]
    for steps in held:
        next(steps)
    outputs = [model.submit(replace(request_of, seed=seed)).result() for seed in range(3)]
    for seed, output in enumerate(outputs):
        assert np.array_equal(np.asarray(output.image), alone(lone, replace(request_of, seed=seed)))
    for steps in held:
        assert len(list(steps)) == 9


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("sampler", ["euler_a", "dpmpp_2m", "heun", "dpmpp_2m_sde"])
def test_a_snapshot_between_two_steps_goes_on_to_the_same_picture(
    fake: Pipeline, lone: Pipeline, request_of: Request, sampler: str, threaded: bool
) -> None:
    request = replace(request_of, sampler=sampler)
    if threaded:
        fake.model.scheduler.start()
        fake.model.submit(replace(request, seed=7, steps=100))
    run = fake.run([request])
    snapshots = [(step.index, run.snapshot()) for step in run]
    for index, snapshot in snapshots[:-1:3]:
        assert index < snapshot.job.evaluation <= index + 2
        again = lone.resume(snapshot)
        assert [step.index for step in again] == list(range(snapshot.job.evaluation, len(again.prepared[0].plan)))
        assert np.array_equal(np.asarray(again.result().images[0]), np.asarray(run.result().images[0]))
    fake.close()


@pytest.mark.parametrize("threaded", [False, True])
def test_a_preview_is_of_its_step_whatever_goes_on_meanwhile(
    fake: Pipeline, lone: Pipeline, request_of: Request, threaded: bool
) -> None:
    wanted = [np.asarray(step.preview()) for step in lone.run([request_of])]
    if threaded:
        fake.model.scheduler.start()
    fake.model.submit(replace(request_of, seed=2, steps=100))
    shown = []
    for step in fake.run([request_of]):
        fake.model.scheduler.drive(lambda: False)
        shown.append(np.asarray(step.preview()))
    assert np.array_equal(shown, wanted)
    fake.close()


def test_a_run_is_cancelled_from_another_thread(fake: Pipeline, request_of: Request) -> None:
    run, begun, go = fake.run([request_of]), Event(), Event()
    fake.denoiser.engine = Counting(fake.denoiser.engine, lambda feeds: begun.set() or until(go.is_set))
    with ThreadPoolExecutor(1) as another:
        steps = another.submit(lambda: len(list(run)))
        assert begun.wait(10)
        run.cancel()
        go.set()
        assert steps.result(10) <= 1
    with pytest.raises(CancelledError):
        run.result()
    assert fake.model.scheduler.tickets == ()


def test_one_picture_of_a_run_that_is_cancelled_ends_it_or_is_its_error(fake: Pipeline, request_of: Request) -> None:
    requests = [replace(request_of, seed=seed) for seed in range(3)]
    run, isolated = Run(fake.model, requests), Run(fake.model, requests, isolated=True)
    for each in (run, isolated):
        each.tickets[1].cancel()
    with pytest.raises(CancelledError):
        list(run)
    assert len(list(isolated)) == 20
    assert len(isolated.result().images) == 2
    assert isinstance(isolated.errors[1], CancelledError)
