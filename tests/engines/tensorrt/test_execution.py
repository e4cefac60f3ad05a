"""The contract of TensorRT's execution contexts: profile, shapes, memory, order of calls, capture and replay."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from overpaint import EngineError
from overpaint.bundles.tensor import Array
from overpaint.engines.tensorrt.execution import Execution, ExecutionContext
from tests.support.tensorrt_stand_in import PROFILES, SCALE, OnDevice, StandInContext, StandInDevice, X, Y


def opened(index: int = 0, *, graphs: bool = True) -> tuple[Execution, StandInContext, StandInDevice]:
    device = StandInDevice()
    context = StandInContext(device, PROFILES)
    execution = Execution(context, index, PROFILES[index], (X, SCALE), (Y,), device, graphs=graphs)
    return execution, context, device


def feeds(rows: int, width: int, scale: int = 3) -> dict[str, Any]:
    x = np.arange(rows * 2 * width, dtype=np.float32).reshape(rows, 2, width)
    return {"x": x, "scale": np.array(scale, np.int64)}


def check(outputs: Mapping[str, Array], given: Mapping[str, Array]) -> None:
    assert np.array_equal(outputs["y"], given["x"] * given["scale"])


@pytest.mark.parametrize("name", [name for name in vars(ExecutionContext) if not name.startswith("_")])
@pytest.mark.parametrize("builder", ["tensorrt", "tensorrt_rtx"])
def test_the_library_has_what_is_called_with_these_parameters(builder: str, name: str) -> None:
    trt = pytest.importorskip(builder, reason=f"needs {builder}, which publishes no stubs")
    parameters = list(inspect.signature(getattr(ExecutionContext, name)).parameters)
    signature = re.escape("(" + ", ".join(parameters)).replace(r",\ ", r": [\w.]+, ")
    assert re.search(signature, getattr(trt.IExecutionContext, name).__doc__)


def test_the_profile_comes_first_then_shapes_then_memory_once() -> None:
    execution, context, device = opened()
    assert context.calls == ["profile", "shape x", "shape scale", "bind x", "bind scale", "bind y"]
    assert sorted(map(len, device.memory.values())) == [8, 2 * 2 * 8 * 4, 2 * 2 * 8 * 4]
    for width in (4, 8, 5):
        check(execution(feeds(1, width)), feeds(1, width))
    assert len(device.memory) == 3
    assert not any(call.startswith(("profile", "bind")) for call in context.calls[6:])


def test_shapes_that_stay_are_not_set_again() -> None:
    execution, context, _ = opened()
    execution(feeds(1, 4))
    before = len(context.calls)
    execution(feeds(1, 4))
    assert len(context.calls) == before


def test_a_shape_is_captured_when_it_comes_again_and_then_replayed() -> None:
    execution, _, device = opened()
    for scale in range(5):
        check(execution(feeds(2, 6, scale)), feeds(2, 6, scale))
    assert (device.captures, device.replays) == (1, 4)


def test_other_shapes_are_captured_anew() -> None:
    execution, _, device = opened()
    for width in (4, 4, 4, 5, 5, 4, 4, 4, 5):
        check(execution(feeds(1, width)), feeds(1, width))
    assert (device.captures, device.replays) == (3, 2 + 1 + 2)


def test_the_greatest_shape_which_memory_was_made_for_is_run_before_it_is_captured() -> None:
    execution, _, device = opened()
    check(execution(feeds(2, 8)), feeds(2, 8))
    assert device.captures == 0


def test_within_a_graph_that_is_being_recorded_the_run_is_queued() -> None:
    execution, _, device = opened()
    for _ in range(3):
        execution(feeds(1, 4))
    counts = device.captures, device.replays
    device.outer = True
    check(execution(feeds(1, 4)), feeds(1, 4))
    assert (device.captures, device.replays) == counts


def test_a_graph_of_a_run_is_good_until_shapes_are_set() -> None:
    execution, _, _ = opened()
    states = [execution.state]
    for width in (4, 4, 5, 4):
        execution(feeds(1, width))
        states.append(execution.state)
    assert states[1] is states[2]
    assert len(set(states)) == 4


def test_without_graphs_nothing_is_captured() -> None:
    execution, _, device = opened(graphs=False)
    for _ in range(3):
        check(execution(feeds(1, 4)), feeds(1, 4))
    assert device.captures == 0


def test_the_second_profile() -> None:
    execution, _, _ = opened(1)
    check(execution(feeds(2, 4)), feeds(2, 4))


def test_outputs_lie_where_the_inputs_lie() -> None:
    execution, _, _ = opened()
    given = feeds(1, 4)
    assert not isinstance(execution(given)["y"], OnDevice)
    given["x"] = given["x"].view(OnDevice)
    result = execution(given)["y"]
    assert isinstance(result, OnDevice)
    execution(feeds(1, 4, scale=5))
    check({"y": result}, given)


def test_what_the_library_refuses_is_raised_and_the_next_call_works() -> None:
    execution, context, _ = opened()
    with pytest.raises(EngineError, match=r"refused x of shape \[3, 2, 4\]"):
        execution(feeds(3, 4))
    check(execution(feeds(1, 4)), feeds(1, 4))
    context.refuses = True
    with pytest.raises(EngineError, match="refused the run"):
        execution(feeds(1, 5))
    context.refuses = False
    check(execution(feeds(1, 5)), feeds(1, 5))
