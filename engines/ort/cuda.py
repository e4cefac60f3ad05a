"""ONNX Runtime on a GPU: every tensor bound where it is, one stream, a CUDA graph for a shape that comes back."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...bundles.graph import Graph
from ...bundles.tensor import Array
from ...errors import EngineError, NoEngineError, OutOfMemoryError
from ..arrays import device_lock, free_memory, namespace, pointer, stream, wrap
from ..base import ROW_BUCKETS
from ..capture import recording
from ..memory import out_of_memory
from ..registry import EngineOptions
from ..select import INSTALL_CUDA as INSTALL
from .session import ERRORS, SessionEngine, library, open_session, session_options

logger = logging.getLogger(__name__)

PROVIDER = "CUDAExecutionProvider"
# The library keeps a captured graph, and with it its activations, for as long as the session.
MOST_GRAPHS = 8
# What the arena of a session leaves to latents and kernels, in bytes.
RESERVE = 256 * 2**20
WITH_GRAPHS, WITHOUT_GRAPHS = ", CUDA graphs", ", without CUDA graphs"
_UNCAPTURED, _NOTHING_BUT_FATAL = -1, 4
_Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Captured:
    """A shape's graph: it reads and writes these buffers and no others."""

    binding: Any
    options: Any
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


class CudaEngine(SessionEngine):
    """A graph in an ONNX Runtime session on a GPU.

    The first run of a shape tells the shapes of its outputs; the second is captured, as long as fewer than
    `MOST_GRAPHS` are, and those that follow replay it. A shape beyond them runs without a graph. A run can also be part
    of a graph that somebody else records.
    """

    device = "cuda"

    def __init__(self, name: str, graph: Graph, path: Path, folder: Path, options: EngineOptions) -> None:
        self._graphs: dict[_Shapes, Captured] = {}
        self._seen: dict[_Shapes, dict[str, tuple[int, ...]]] = {}
        self._capturing = True
        self._state = object()
        super().__init__(name, graph, path, folder, options)
        self.row_buckets = ROW_BUCKETS if self._capturing else ()
        self.label += WITH_GRAPHS if self._capturing else WITHOUT_GRAPHS

    @property
    def capture_state(self) -> Hashable | None:
        """Another one once the session has been opened anew, which takes the memory from graphs that it is part of."""
        return self._state if self._capturing else None

    def close(self) -> None:
        """Release the session and its buffers."""
        self._release()

    def _session_of(self, path: Path, folder: Path, options: EngineOptions) -> Any:
        _check_provider(self.name)

        # A convolution's bias in its kernel, which cuDNN then compiles: seconds for every shape.
        biases = options.shapes == "tuned" and self.precision == "float16"

        def opened() -> Any:
            settings = providers(self.precision, graphs=self._capturing, biases=biases)
            return open_session(path, folder, session_options(options), settings, self._stored, options.weights)

        try:
            session = opened()
        except ERRORS as exc:
            # What the library says of a graph with control flow, or with operators that it has on the CPU alone.
            if "graph capture" not in str(exc):
                raise
            self._capturing = False
            session = opened()
        if session.get_providers()[0] != PROVIDER:
            raise EngineError(
                f"{self.name}: onnxruntime {library.__version__} cannot load its CUDA libraries, or they are of "
                f"another version than it is built for (CUDA {getattr(library, 'cuda_version', '?')}); {INSTALL}"
            )
        return session

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        xp = namespace(self.device)
        arrays = {spec.name: xp.ascontiguousarray(feeds[spec.name]) for spec in self.inputs}
        shapes = tuple(array.shape for array in arrays.values())
        with device_lock(self.device):
            if recording():
                return self._recorded(shapes, arrays)
            if shapes in self._graphs:
                return self._replay(self._graphs[shapes], arrays)
            recurs = self._capturing and shapes in self._seen and len(self._graphs) < MOST_GRAPHS
            if recurs and (outputs := self._captured(shapes, arrays)):
                return outputs
            return self._plain(shapes, arrays)

    def _plain(self, shapes: _Shapes, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Run on the caller's own arrays.

        The outputs are copied out of the session's arena: a captured graph goes on writing to what it had of it.
        """
        binding = self._session.io_binding()
        _bind_inputs(binding, arrays)
        for spec in self.outputs:
            binding.bind_output(spec.name, self.device, 0)
        self._session.run_with_iobinding(binding, _run_options(_UNCAPTURED))
        outputs = {
            spec.name: wrap(value.data_ptr(), value.shape(), spec.dtype, value).copy()
            for spec, value in zip(self.outputs, binding.get_outputs(), strict=True)
        }
        self._seen[shapes] = {name: array.shape for name, array in outputs.items()}
        return outputs

    def _recorded(self, shapes: _Shapes, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Run as part of a graph that is being recorded, of a shape that has run before."""
        if shapes not in self._seen:
            raise EngineError(f"{self.name}: has to run with these shapes before a run of them is recorded")
        binding, outputs = self._bound(shapes, arrays)
        try:
            self._session.run_with_iobinding(binding, _run_options(_UNCAPTURED))
        except ERRORS as exc:  # whatever it is: a session must not be opened anew while a graph is recorded
            raise EngineError(f"{self.name}: a run of it cannot be recorded: {exc}") from exc
        return outputs

    def _captured(self, shapes: _Shapes, arrays: Mapping[str, Array]) -> dict[str, Array] | None:
        """Capture the graph of a shape and run it; None, and no graph from now on, where the library cannot."""
        graph = self._capture(shapes, arrays)
        try:
            outputs = self._replay(graph, arrays)
        except ERRORS as exc:
            if out_of_memory(exc):
                raise
            self._give_up_graphs(exc)
            return None
        self._graphs[shapes] = graph
        return outputs

    def _capture(self, shapes: _Shapes, arrays: Mapping[str, Array]) -> Captured:
        """Buffers at fixed addresses, and the number under which the session's next run captures a graph of them."""
        xp = namespace(self.device)
        inputs = {name: xp.empty_like(array) for name, array in arrays.items()}
        binding, outputs = self._bound(shapes, inputs)
        return Captured(binding, _run_options(len(self._graphs) + 1), inputs, outputs)

    def _bound(self, shapes: _Shapes, inputs: Mapping[str, Array]) -> tuple[Any, dict[str, Array]]:
        """A binding of inputs and of new outputs, and those."""
        xp = namespace(self.device)
        outputs = {spec.name: xp.empty(self._seen[shapes][spec.name], spec.dtype) for spec in self.outputs}
        binding = self._session.io_binding()
        _bind_inputs(binding, inputs)
        for name, array in outputs.items():
            binding.bind_output(name, self.device, 0, array.dtype, array.shape, pointer(array))
        return binding, outputs

    def _replay(self, graph: Captured, arrays: Mapping[str, Array]) -> dict[str, Array]:
        for name, array in arrays.items():
            graph.inputs[name][...] = array
        self._session.run_with_iobinding(graph.binding, graph.options)
        return {name: array.copy() for name, array in graph.outputs.items()}

    def _give_up_graphs(self, exc: Exception) -> None:
        """Open the session again without graphs: it said that it could capture them, and could not."""
        logger.warning("%s: runs without CUDA graphs, this one cannot be captured: %s", self.name, exc)
        self._release()
        self._capturing, self.row_buckets = False, ()
        self._session = self._open()
        self.label = self.label.replace(WITH_GRAPHS, WITHOUT_GRAPHS)

    def _too_large(self, exc: Exception) -> OutOfMemoryError:
        """Let go of all that a failed run leaves, graphs included, so that the next one has the memory."""
        self._release()
        free = free_memory()
        with suppress(EngineError, *ERRORS):  # without memory even for the graph, the engine stays closed
            self._session = self._open()
        return OutOfMemoryError(
            f"{self.name}: the GPU's memory does not suffice ({exc}); {free / 1e6:.0f} MB are free without this graph: "
            "take a smaller size, fewer rows a call (max_rows), or a bundle exported in float16"
        )

    def _release(self) -> None:
        self._graphs.clear()
        self._seen.clear()
        self._session, self._state = None, object()


def providers(precision: str, *, graphs: bool, biases: bool) -> list[Any]:
    """The providers of a session and the settings of CUDA's, named as in its documentation."""
    settings = {
        "device_id": "0",
        "user_compute_stream": str(stream().ptr),
        "enable_cuda_graph": str(int(graphs)),
        "arena_extend_strategy": "kSameAsRequested",
        "gpu_mem_limit": str(max(free_memory() - RESERVE, RESERVE)),
        # A search would hold up the first request of every shape.
        "cudnn_conv_algo_search": "HEURISTIC",
        "prefer_nhwc": "1",
        "fuse_conv_bias": str(int(biases)),
        # Else the sums and variances of `SkipLayerNormalization` are made in float16.
        "enable_skip_layer_norm_strict_mode": "1",
        # float32 is what the label says. With "0" a convolution in float16 is first refused its tensor cores, in vain.
        "use_tf32": str(int(precision == "float16")),
    }
    return [(PROVIDER, settings), "CPUExecutionProvider"]


def _check_provider(name: str) -> None:
    if PROVIDER not in library.get_available_providers():
        raise NoEngineError(
            f"{name}: this onnxruntime {library.__version__} is built without CUDA; {INSTALL}, or leave the device out"
        )
    library.preload_dlls(directory="")
    library.set_default_logger_severity(_NOTHING_BUT_FATAL)  # what goes wrong is raised


def _bind_inputs(binding: Any, arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        binding.bind_input(name, "cuda", 0, array.dtype, array.shape, pointer(array))


def _run_options(graph: int) -> Any:
    """The options of a run under the number of its graph; the library waits for nothing after it."""
    options = library.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    return options
