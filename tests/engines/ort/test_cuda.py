"""The contract with ONNX Runtime on a GPU, against a strict stand-in of its session; and on a GPU, the real one."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from overpaint import EngineError
from overpaint.bundles.graph import Graph
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.tensor import TensorSpec
from overpaint.engines.base import ROW_BUCKETS
from overpaint.engines.fake import FakeEngine
from overpaint.engines.ort import cuda, session
from overpaint.engines.ort.cuda import MOST_GRAPHS, PROVIDER
from overpaint.engines.registry import EngineOptions, open_engine
from overpaint.errors import OutOfMemoryError
from tests.support.device import CUPY, Array

CUDA = EngineOptions(device="cuda")
TYPES = {"float32": "tensor(float)", "int64": "tensor(int64)"}


class Bound(SimpleNamespace):
    """One bound tensor."""

    def array(self) -> Any:
        size = int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize
        return np.frombuffer((ctypes.c_char * size).from_address(self.ptr), self.dtype).reshape(self.shape)


class Value:
    """A tensor of the library's own arena."""

    def __init__(self, array: Any) -> None:
        self.array = np.ascontiguousarray(array)

    def data_ptr(self) -> int:
        return self.array.ctypes.data

    def shape(self) -> list[int]:
        return list(self.array.shape)


class Binding:
    """An IOBinding that takes no other device, and no tensor twice."""

    def __init__(self) -> None:
        self.inputs: dict[str, Bound] = {}
        self.outputs: dict[str, Bound | None] = {}
        self.values: list[Value] = []

    def bind_input(self, name: str, device: str, index: int, dtype: Any, shape: Any, ptr: int) -> None:
        assert (device, index) == ("cuda", 0)
        assert name not in self.inputs
        self.inputs[name] = Bound(dtype=dtype, shape=tuple(shape), ptr=ptr)

    def bind_output(
        self, name: str, device: str, index: int, dtype: Any = None, shape: Any = None, ptr: int | None = None
    ) -> None:
        assert (device, index) == ("cuda", 0)
        assert name not in self.outputs
        self.outputs[name] = Bound(dtype=dtype, shape=tuple(shape), ptr=ptr) if ptr else None

    def get_outputs(self) -> list[Value]:
        return self.values

    def signature(self) -> Any:
        return [(name, bound.shape, bound.ptr) for name, bound in {**self.inputs, **self.outputs}.items() if bound]


class Session:
    """An InferenceSession on a GPU: it captures a graph at the first run under a number, and checks every later one."""

    opened: list[Session]
    graph: Graph
    refuses_capture = False
    breaks_capture = False
    memory = 10**9

    def __init__(self, model: Any, settings: Any, providers: list[Any]) -> None:
        self.settings = dict(providers[0][1])
        if self.refuses_capture and self.settings["enable_cuda_graph"] == "1":
            raise Fail("This session cannot use the graph capture feature as requested by the user")
        self.graphs: dict[int, Any] = {}
        self.arena: list[Value] = []
        self.log: list[int] = []
        Session.opened.append(self)

    def get_providers(self) -> list[str]:
        return [PROVIDER, "CPUExecutionProvider"]

    def get_inputs(self) -> list[Any]:
        return [described(spec) for spec in self.graph.inputs]

    def get_outputs(self) -> list[Any]:
        return [described(spec) for spec in self.graph.outputs]

    def io_binding(self) -> Binding:
        return Binding()

    def run_with_iobinding(self, binding: Binding, options: Any) -> None:
        assert options.get_run_config_entry("disable_synchronize_execution_providers") == "1"
        number = int(options.get_run_config_entry("gpu_graph_id"))
        self.log.append(number)
        assert set(binding.inputs) == {spec.name for spec in self.graph.inputs}
        assert list(binding.outputs) == [spec.name for spec in self.graph.outputs]
        if sum(bound.array().nbytes for bound in binding.inputs.values()) > Session.memory:
            raise RuntimeError("Error in execution: Failed to allocate memory for requested buffer of size 12345")
        if number >= 0:
            if self.breaks_capture:
                raise RuntimeError("Error in execution: operation not permitted when stream is capturing")
            assert number > 0
            assert self.settings["enable_cuda_graph"] == "1"
            assert all(binding.outputs.values())
            assert self.graphs.setdefault(number, binding.signature()) == binding.signature()
        feeds = {name: bound.array() for name, bound in binding.inputs.items()}
        made = FakeEngine("unet", self.graph)(feeds)
        for value in self.arena:  # as a replay may: what a captured graph used is given out again after its capture
            value.array[...] = np.nan
        binding.values = self.arena = [Value(array) for array in made.values()]
        for name, bound in binding.outputs.items():
            if bound:
                bound.array()[...] = made[name]


def described(spec: TensorSpec) -> Any:
    return SimpleNamespace(name=spec.name, type=TYPES[spec.dtype], shape=list(spec.axes))


@pytest.fixture
def graph(fake_folder: Path, cupy: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Graph]:
    """The U-Net of a bundle, the library being the stand-in."""
    Session.graph, Session.opened = Bundle.read(fake_folder).graph("unet"), []
    library = SimpleNamespace(
        __version__="0",
        InferenceSession=Session,
        SessionOptions=session.library.SessionOptions,
        RunOptions=session.library.RunOptions,
        get_available_providers=lambda: [PROVIDER, "CPUExecutionProvider"],
        preload_dlls=lambda directory: None,
        set_default_logger_severity=lambda level: None,
    )
    monkeypatch.setattr(session, "library", library)
    monkeypatch.setattr(cuda, "library", library)
    yield Session.graph
    monkeypatch.undo()


def feeds(rows: int = 2, height: int = 4, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    shapes = {"sample": (rows, 4, height, 6), "timestep": (rows,), "encoder_hidden_states": (rows, 16, 8)}
    return {name: Array(rng.standard_normal(shape, np.float32)) for name, shape in shapes.items()}


def expected(graph: Graph, given: Mapping[str, Array]) -> Any:
    return FakeEngine("unet", graph)({name: array.host for name, array in given.items()})["model_output"]


def engine_of(folder: Path, graph: Graph) -> Any:
    return open_engine("onnxruntime", "unet", graph, folder, CUDA)


def test_a_shape_runs_is_captured_and_is_replayed(graph: Graph, fake_folder: Path) -> None:
    engine = engine_of(fake_folder, graph)
    made = [(given, engine(given)["model_output"]) for given in (feeds(seed=seed) for seed in range(4))]
    assert Session.opened[0].log == [-1, 1, 1, 1]
    # What was returned stays what it was: no later run writes over it.
    for given, output in made:
        assert np.array_equal(output.host, expected(graph, given))
    assert Array.waits == 0
    assert engine.label.endswith("cuda, float32, CUDA graphs")


def test_every_shape_has_its_own_graph_up_to_a_number(graph: Graph, fake_folder: Path) -> None:
    engine = engine_of(fake_folder, graph)
    for _ in range(3):
        for rows in range(1, MOST_GRAPHS + 2):
            given = feeds(rows)
            assert np.array_equal(engine(given)["model_output"].host, expected(graph, given))
    numbers = list(range(1, MOST_GRAPHS + 1))
    assert Session.opened[0].log == [-1] * (MOST_GRAPHS + 1) + [*numbers, -1] * 2


def test_a_run_is_part_of_a_graph_that_is_recorded(
    graph: Graph, fake_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(fake_folder, graph)
    state = engine.capture_state
    engine(feeds())
    monkeypatch.setattr(cuda, "recording", lambda: True)
    given = feeds(seed=1)
    made = engine(given)["model_output"]
    engine(feeds(seed=2))
    assert np.array_equal(made.host, expected(graph, given))  # in memory that the session does not give out again
    assert Session.opened[0].log == [-1, -1, -1]
    assert (engine.capture_state is state, Array.waits) == (True, 0)


def test_a_graph_that_a_run_is_part_of_does_not_outlast_the_session(
    graph: Graph, fake_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(fake_folder, graph)
    state = engine.capture_state
    monkeypatch.setattr(Session, "memory", 10_000)
    with pytest.raises(EngineError, match="memory"):
        engine(feeds(height=400))
    assert engine.capture_state not in (None, state)
    monkeypatch.setattr(Session, "refuses_capture", True)
    assert engine_of(fake_folder, graph).capture_state is None


def test_a_run_that_cannot_be_recorded_leaves_the_session_as_it_is(
    graph: Graph, fake_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(fake_folder, graph)
    engine(feeds())
    monkeypatch.setattr(cuda, "recording", lambda: True)
    with pytest.raises(EngineError, match="has to run with these shapes before"):
        engine(feeds(rows=1))
    monkeypatch.setattr(Session, "memory", 10)
    with pytest.raises(EngineError, match=r"cannot be recorded: .* Failed to allocate"):
        engine(feeds())
    monkeypatch.setattr(Session, "memory", 10**9)
    monkeypatch.setattr(cuda, "recording", lambda: False)
    assert np.array_equal(engine(feeds())["model_output"].host, expected(graph, feeds()))
    assert len(Session.opened) == 1


def test_the_settings_are_those_of_the_documentation(graph: Graph, fake_folder: Path) -> None:
    engine_of(fake_folder, graph)
    assert Session.opened[0].settings == {
        "device_id": "0",
        "user_compute_stream": "7",
        "enable_cuda_graph": "1",
        "arena_extend_strategy": "kSameAsRequested",
        "gpu_mem_limit": str(2 * 2**30 - 2**28),
        "cudnn_conv_algo_search": "HEURISTIC",
        "prefer_nhwc": "1",
        "fuse_conv_bias": "0",
        "enable_skip_layer_norm_strict_mode": "1",
        "use_tf32": "0",
    }


def test_float16_has_tensor_cores_at_once(graph: Graph, fake_folder: Path) -> None:
    engine_of(fake_folder, replace(graph, precision="float16"))
    assert Session.opened[0].settings["use_tf32"] == "1"


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_kernels_are_compiled_where_that_is_asked_for(graph: Graph, fake_folder: Path, precision: str) -> None:
    tuned = replace(CUDA, shapes="tuned")
    open_engine("onnxruntime", "unet", replace(graph, precision=precision), fake_folder, tuned)
    assert Session.opened[0].settings["fuse_conv_bias"] == str(int(precision == "float16"))


def test_a_graph_that_cannot_be_captured_runs_without(
    graph: Graph, fake_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "refuses_capture", True)
    engine = engine_of(fake_folder, graph)
    for _ in range(3):
        engine(feeds())
    assert Session.opened[0].log == [-1, -1, -1]
    assert engine.label.endswith("without CUDA graphs")


def test_a_capture_that_fails_is_told_and_not_tried_again(
    graph: Graph, fake_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Session, "breaks_capture", True)
    engine = engine_of(fake_folder, graph)
    engine(feeds())
    assert engine.row_buckets == ROW_BUCKETS
    made = engine(feeds())
    assert re.search("unet: runs without CUDA graphs, .* not permitted when stream is capturing", caplog.text)
    assert engine.row_buckets == ()
    assert np.array_equal(made["model_output"].host, expected(graph, feeds()))
    engine(feeds())
    assert [opened.log for opened in Session.opened] == [[-1, 1], [-1, -1]]
    assert engine.label.endswith("float32, without CUDA graphs")


def test_norms_that_leave_the_gpu_are_told(graph: Graph, fake_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = fake_folder / graph.file.path
    plain = path.read_bytes()
    path.write_bytes(plain + b"InstanceNormalization")
    try:
        engine_of(fake_folder, graph)
    finally:
        path.write_bytes(plain)
    assert re.search("unet: .* group norms .* run: overpaint build .* --engine onnxruntime", caplog.text)


def test_out_of_memory_names_what_was_needed_and_the_next_request_works(
    graph: Graph, fake_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(fake_folder, graph)
    engine(feeds())
    monkeypatch.setattr(Session, "memory", 10_000)
    with pytest.raises(
        OutOfMemoryError, match=r"unet: the GPU's memory .* size 12345\); 2147 MB are free .* smaller size"
    ):
        engine(feeds(height=400))
    assert np.array_equal(engine(feeds())["model_output"].host, expected(graph, feeds()))
    assert [opened.log for opened in Session.opened] == [[-1, -1], [-1]]


def test_a_closed_engine_and_wrong_inputs(graph: Graph, fake_folder: Path) -> None:
    engine = engine_of(fake_folder, graph)
    with pytest.raises(EngineError, match="no value for timestep"):
        engine({name: array for name, array in feeds().items() if name != "timestep"})
    engine.close()
    with pytest.raises(EngineError, match="closed; load"):
        engine(feeds())


def test_a_library_without_cuda(fake_folder: Path, cupy: Any) -> None:
    graph = Bundle.read(fake_folder).graph("unet")
    with pytest.raises(EngineError, match=r"built without CUDA; run: .* pip install 'overpaint\[gpu\]'"):
        engine_of(fake_folder, graph)


def test_cuda_libraries_that_do_not_load(graph: Graph, fake_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "get_providers", lambda _: ["CPUExecutionProvider"])
    with pytest.raises(EngineError, match="cannot load its CUDA libraries"):
        engine_of(fake_folder, graph)


def test_no_cupy(graph: Graph, fake_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(EngineError, match=r"cupy is not installed; run: pip install 'overpaint\[gpu\]'"):
        engine_of(fake_folder, graph)


def test_no_gpu(graph: Graph, fake_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise RuntimeError("no driver")

    monkeypatch.setattr(CUPY.cuda.runtime, "getDeviceCount", fail)
    with pytest.raises(EngineError, match=r"no usable GPU \(no driver\)"):
        engine_of(fake_folder, graph)
