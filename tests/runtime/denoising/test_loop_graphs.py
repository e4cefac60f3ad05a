"""Short loops as CUDA graphs, against the stand-in: what is captured, what a replay reads, when it is made anew."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from overpaint import EngineError, InpaintMask, Pipeline
from overpaint.engines.capture import Capture
from overpaint.runtime.denoising import loop_graphs
from overpaint.runtime.denoising.loop import Step
from overpaint.runtime.denoising.loop_graphs import MOST_GRAPHS
from tests.runtime.denoising.test_device import OnDevice, device  # noqa: F401

Pixels = NDArray[np.uint8]
pytestmark = pytest.mark.usefixtures("cupy")


class Capturable(OnDevice):
    """An engine whose work may be captured as long as `capture_state` stays."""

    capture_state: Any = "shapes"


@pytest.fixture
def capturable(device: Pipeline) -> Pipeline:  # noqa: F811
    device.denoiser.engine = Capturable(device.denoiser.engine.engine)
    return device


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[Capture[list[Any]]]:
    """The captures that are recorded. A replay does their work again, into the arrays that the recording returned."""
    made = []

    def record(capture: Any) -> Any:
        kept = capture._work()
        made.append(capture)

        def launch(_: Any) -> None:
            for old, new in zip(kept, capture._work(), strict=True):
                old.host[...] = new.host

        return SimpleNamespace(launch=launch), kept

    monkeypatch.setattr(Capture, "_record", record)
    return made


def paint(pipe: Pipeline, pictures: Any, index: int, **options: Any) -> tuple[list[Pixels], list[Step]]:
    steps: list[Step] = []
    asked = {"prompt": f"a {index}", "seed": index, "steps": 4, "strength": 0.5} | options
    return [np.asarray(image) for image in pipe(pictures, on_step=steps.append, **asked).images], steps


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "noisy": {"sampler": "euler_a"},
    "history": {"sampler": "dpmpp_2m"},
    "two lines a step": {"sampler": "heun", "steps": 3},
    "rescaled": {"guidance_rescale": 0.7},
    "one row": {"guidance_scale": 1},
    "a prompt that changes": {"prompt": "[a:b:0.5]"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_replay_is_what_the_host_makes(
    capturable: Pipeline, fake: Pipeline, picture: Pixels, captures: list[Any], name: str
) -> None:
    for index in range(5):
        pictures = [picture + np.uint8(index)]
        (ours, steps), (theirs, expected) = (
            paint(pipe, pictures, index, **OPTIONS[name]) for pipe in (capturable, fake)
        )
        assert np.array_equal(ours, theirs)
        for step, wanted in zip(steps, expected, strict=True):
            assert np.array_equal(step.denoised.host, wanted.denoised)
            assert (step.index, step.count, step.sigma) == (wanted.index, wanted.count, wanted.sigma)
            assert np.array_equal(np.asarray(step.preview()), np.asarray(wanted.preview()))
    assert len(captures) == 1


def test_jobs_that_share_calls_are_not_captured(
    capturable: Pipeline, fake: Pipeline, picture: Pixels, captures: list[Any]
) -> None:
    for index in range(4):
        pictures = [picture, 255 - picture - np.uint8(index)]
        (ours, _), (theirs, _) = (paint(pipe, pictures, index) for pipe in (capturable, fake))
        assert np.array_equal(ours, theirs)
    assert not captures


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 20},
        {"inpaint_mask": InpaintMask(np.tile(np.repeat(np.uint8([255, 0]), 28), (40, 1)))},
        {"window": 32},
        {"passes": (0.5, 0.5)},
    ],
    ids=lambda options: next(iter(options)),
)
def test_long_loops_and_those_with_work_between_their_lines_are_not_captured(
    capturable: Pipeline, fake: Pipeline, picture: Pixels, captures: list[Any], options: dict[str, Any]
) -> None:
    for index in range(3):
        (ours, _), (theirs, _) = (paint(pipe, [picture], index, **options) for pipe in (capturable, fake))
        assert np.array_equal(ours, theirs)
    assert not captures


def test_an_engine_that_cannot_be_captured_runs_step_by_step(
    device: Pipeline,  # noqa: F811
    picture: Pixels,
    captures: list[Any],
) -> None:
    assert device.denoiser.engine.capture_state is None
    for index in range(3):
        paint(device, [picture], index)
    assert not captures


def test_other_shapes_make_the_graph_anew(
    capturable: Pipeline, fake: Pipeline, picture: Pixels, captures: list[Any]
) -> None:
    engine: Any = capturable.denoiser.engine
    for index, state in enumerate("aaabbba"):
        engine.capture_state = state
        (ours, _), (theirs, _) = (paint(pipe, [picture], index) for pipe in (capturable, fake))
        assert np.array_equal(ours, theirs)
    assert len(captures) == 2


def test_a_loop_during_which_shapes_are_set_is_not_captured(
    capturable: Pipeline, picture: Pixels, captures: list[Any]
) -> None:
    engine: Any = capturable.denoiser.engine
    engine.progress = lambda: setattr(engine, "capture_state", object())
    for index in range(4):
        paint(capturable, [picture], index)
    assert not captures


def test_graphs_are_bounded_in_number(capturable: Pipeline, picture: Pixels, captures: list[Any]) -> None:
    for guidance in range(2, 4 + MOST_GRAPHS):
        for _ in range(2):
            paint(capturable, [picture], 1, guidance_scale=guidance)
    assert len(captures) == MOST_GRAPHS + 2
    assert len(capturable.model.scheduler._graphs._known) == MOST_GRAPHS


def test_a_graph_keeps_no_run_and_so_no_picture_alive(
    capturable: Pipeline, picture: Pixels, captures: list[Any]
) -> None:
    runs = []
    for index in range(3):
        run = capturable.start(picture, "a", seed=index, steps=4, strength=0.5)
        run.paced = False
        assert len(list(run)) == 2
        runs.append(weakref.ref(run))
    del run
    gc.collect()
    assert captures
    assert not any(run() for run in runs)


def test_a_run_that_is_read_step_by_step_is_never_captured(
    capturable: Pipeline, picture: Pixels, captures: list[Any]
) -> None:
    for _ in range(3):
        run = capturable.start(picture, "a", seed=1, steps=4, strength=1)
        assert [run.snapshot().job.evaluation for _ in run] == [1, 2, 3, 4]
    assert not captures


def test_a_spoilt_output_of_a_replay_is_named_by_its_line(
    capturable: Pipeline, picture: Pixels, captures: list[Any]
) -> None:
    for index in range(3):
        paint(capturable, [picture], index)
    engine: Any = capturable.denoiser.engine
    engine.good = engine.calls + 1
    with pytest.raises(EngineError, match="at evaluation 2 of 2"):
        paint(capturable, [picture], 3)
    engine.good = 10**9
    paint(capturable, [picture], 4)


def test_what_cannot_be_recorded_goes_on_step_by_step_and_says_so(
    capturable: Pipeline,
    fake: Pipeline,
    picture: Pixels,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes: list[str] = []

    def refuse(_: Any) -> Any:
        raise EngineError("not this")

    monkeypatch.setattr(Capture, "_record", refuse)
    monkeypatch.setattr(loop_graphs._log, "warning", lambda message, *values: notes.append(message % values))
    pair = (capturable, fake)
    paint(capturable, [picture], 0, sampler="euler_a")
    (ours, _), (theirs, _) = (paint(pipe, [picture], 1, sampler="euler_a") for pipe in pair)
    assert notes == ["the loop goes step by step, it cannot be captured as one CUDA graph: not this"]
    assert np.array_equal(ours, theirs)
    (ours, _), (theirs, _) = (paint(pipe, [picture], 2, sampler="euler_a") for pipe in pair)
    assert np.array_equal(ours, theirs)
