"""Capture and replay, against the stand-in."""

from typing import Any

import pytest

from overpaint import EngineError
from overpaint.engines import arrays
from overpaint.engines.capture import Capture, recording

pytestmark = pytest.mark.usefixtures("cupy")


def test_work_is_done_to_warm_up_and_to_record_and_then_replayed() -> None:
    during = []

    def work() -> int:
        assert recording() == arrays.stream().capturing
        during.append(recording())
        return len(during)

    capture = Capture(work)
    assert [capture() for _ in range(3)] == [2, 2, 2]
    assert during == [False, True]
    assert capture._recorded[0].launched == 3
    assert not arrays.stream().capturing


@pytest.mark.parametrize("good", [0, 1])
def test_work_that_fails_leaves_no_capture_open(good: int) -> None:
    calls: list[Any] = []

    def work() -> None:
        calls.append(None)
        if len(calls) > good:
            raise ValueError("work")

    with pytest.raises(ValueError, match="work"):
        Capture(work)()
    assert not recording()
    assert not arrays.stream().capturing


def test_work_that_cannot_be_recorded() -> None:
    def work() -> None:
        if recording():
            raise RuntimeError("cudaErrorStreamCaptureUnsupported")  # the stand-in's CUDARuntimeError

    with pytest.raises(EngineError, match="cannot be recorded: cudaErrorStreamCaptureUnsupported"):
        Capture(work)()
    assert not arrays.stream().capturing
