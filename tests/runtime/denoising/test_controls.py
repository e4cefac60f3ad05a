"""ControlNets by row: rows with and without share calls, and none of it alters another row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overpaint import Control, EngineError, Pipeline, Request
from overpaint.engines.wrapper import Wrapper
from overpaint.runtime.model.tickets import DONE, FAILED
from tests.support.controlnets import controlled, fed

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


@pytest.fixture
def pipe(tmp_path: Path) -> Pipeline:
    return controlled(tmp_path, "one", "two")


def request(pipe: Pipeline, seed: int, *controls: Control, **fields: Any) -> Request:
    return Request(pipe.read(PICTURE), "a", seed=seed, steps=4, strength=1.0, controls=controls, **fields)


def images(pipe: Pipeline, *requests: Request) -> list[np.ndarray]:
    run = pipe.run(list(requests))
    for _ in run:
        pass
    return [np.asarray(image) for image in run.result().images]


def several(pipe: Pipeline) -> list[Request]:
    return [
        request(pipe, 1),
        request(pipe, 2, Control("one")),
        request(pipe, 3, Control("two", weight=0.5)),
        request(pipe, 4, Control("one", mode="control"), Control("two", end=0.5)),
        request(pipe, 5, Control("one", mode="guess", start=0.5)),
    ]


def test_rows_with_and_without_share_a_call_and_are_those_of_each_alone(pipe: Pipeline) -> None:
    wanted = [images(pipe, each)[0] for each in several(pipe)]
    for net in (None, "one", "two"):
        fed(pipe, net).clear()
    made = images(pipe, *several(pipe))
    for image, alone in zip(made, wanted, strict=True):
        assert np.array_equal(image, alone)
    assert [len(feeds["sample"]) for feeds in fed(pipe)] == [10] * 4
    # Two rows of the second, one of the fourth; from the middle on one of the fifth.
    assert [len(feeds["sample"]) for feeds in fed(pipe, "one")] == [3, 3, 4, 4]
    assert [len(feeds["sample"]) for feeds in fed(pipe, "two")] == [4, 4, 2, 2]


def test_what_is_absent_costs_no_call_and_no_bit(pipe: Pipeline) -> None:
    (plain,) = images(pipe, request(pipe, 1))
    assert {feeds["control_mid"].shape for feeds in fed(pipe)} == {(2, 1, 1, 1)}
    (weightless,) = images(pipe, request(pipe, 1, Control("one", weight=0)))
    assert np.array_equal(plain, weightless)
    assert not fed(pipe, "one")
    (other,) = images(pipe, request(pipe, 1, Control("one")))
    assert not np.array_equal(plain, other)
    assert fed(pipe)[-1]["control_mid"].shape == (2, 16, 5, 7)


def test_residuals_are_summed_by_weight(pipe: Pipeline) -> None:
    images(pipe, request(pipe, 1, Control("one", weight=0.5), Control("two", weight=2)))
    first, second = (dict(zip("ab", (fed(pipe, net)[0], net), strict=True)) for net in ("one", "two"))
    nets = pipe.model.stages.controlnets
    parts = [nets.get(net["b"]).denoiser.engine(net["a"])["control_down_1"] for net in (first, second)]
    assert np.allclose(fed(pipe)[0]["control_down_1"], 0.5 * parts[0] + 2 * parts[1], atol=1e-6)


def test_the_modes_scale_the_residuals_and_leave_out_the_negative_prompt(pipe: Pipeline) -> None:
    def first(mode: str) -> tuple[list[float], int]:
        fed(pipe, "one").clear()
        fed(pipe).clear()
        images(pipe, request(pipe, 1, Control("one", mode=mode)))
        own = pipe.model.stages.controlnets.get("one").denoiser.engine(fed(pipe, "one")[0])
        names = ("control_down_0", "control_down_1", "control_mid")
        return [float((fed(pipe)[0][name][0] / own[name][0]).mean()) for name in names], len(
            fed(pipe, "one")[0]["hint"]
        )

    assert first("balanced") == (pytest.approx([1, 1, 1]), 2)
    assert first("prompt") == (pytest.approx([0.825**2, 0.825, 1]), 2)
    assert first("control") == (pytest.approx([0.825**2, 0.825, 1]), 1)
    assert first("guess") == (pytest.approx([0.1, 10**-0.5, 1]), 1)
    assert not fed(pipe)[0]["control_mid"][1].any()


def test_windows_cut_the_hints(pipe: Pipeline) -> None:
    images(pipe, request(pipe, 1, Control("one", image=pipe.read(PICTURE)), window=32, window_overlap=16))
    hints = np.concatenate([feeds["hint"] for feeds in fed(pipe, "one")[:2]])
    whole = PICTURE.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    assert np.array_equal(hints[0], whole[:, :32, :32])
    assert all(hint.shape == (3, 32, 32) for hint in hints)
    assert any(np.array_equal(hint, whole[:, 8:, 24:]) for hint in hints)


def test_a_failing_controlnet_fails_its_own_rows(pipe: Pipeline) -> None:
    class Failing(Wrapper):
        def __call__(self, feeds: Any) -> Any:
            raise EngineError("no")

    own = several(pipe)
    wanted = [images(pipe, each)[0] for each in own[:3]]
    net = pipe.model.stages.controlnets.get("two").denoiser
    net.engine = Failing(net.engine)
    tickets = [pipe.model.submit(each) for each in own]
    pipe.model.scheduler.drain()
    assert [ticket.status for ticket in tickets] == [DONE, DONE, FAILED, FAILED, DONE]
    for ticket, image in zip(tickets[:2], wanted, strict=False):
        assert np.array_equal(np.asarray(ticket.result().image), image)
