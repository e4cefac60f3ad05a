"""ONNX Runtime: sessions on the CPU, and what they share with those on a GPU (`ort_cuda`)."""

from __future__ import annotations

import ctypes
import sys
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...bundles.store import Key, Store
from ...bundles.tensor import Array
from ...errors import EngineError, NoEngineError, unknown
from ..base import check_feeds, check_precision, check_signature

if TYPE_CHECKING:
    from ...bundles.graph import Graph
    from ..registry import EngineOptions

try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as _state
except ImportError as exc:
    raise NoEngineError("onnxruntime is not installed; run: pip install 'overpaint[cpu]'") from exc

ERRORS: tuple[type[Exception], ...] = (
    MemoryError,
    RuntimeError,  # as runs on bound arrays raise whatever it is
    *(kind for kind in vars(_state).values() if isinstance(kind, type) and issubclass(kind, Exception)),
)
# Of what `export.fuse` makes; to be raised when that makes something else.
VARIANT = "3"
# What group norms are made of where they have not been fused.
_NORM = b"InstanceNormalization"
library: Any = onnxruntime
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
}
_Value = TypeVar("_Value")


class OrtEngine:
    """A graph, or the variant of it at `path`, in an ONNX Runtime session; `folder` holds its weights."""

    device = "cpu"
    profiles = ()

    def __init__(self, name: str, graph: Graph, path: Path, folder: Path, options: EngineOptions) -> None:
        self.name = name
        fused = "" if path == folder / graph.file.path else ", fused"
        self.label = f"onnxruntime {onnxruntime.__version__}, {self.device}, {graph.precision}{fused}"
        self.inputs = graph.inputs
        self.outputs = graph.outputs
        self._names = [spec.name for spec in graph.outputs]
        self._open = partial(self._session_of, path, folder, options)
        self._session: Any = self._guard("cannot load the graph", self._open)
        check_signature(path, "inputs", graph.inputs, map(_described, self._session.get_inputs()))
        check_signature(path, "outputs", graph.outputs, map(_described, self._session.get_outputs()))

    @property
    def capture_state(self) -> Hashable | None:
        """None: nothing of it is captured."""
        return None

    def begin_run(self) -> None:
        """Nothing is built."""

    def end_run(self) -> None:
        """Nothing was built."""

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once on arrays by input name; raises `EngineError`."""
        if self._session is None:
            raise EngineError(f"{self.name}: the engine is closed; load the pipeline again")
        check_feeds(self.name, self.inputs, feeds)
        return self._guard("failed while running", lambda: self._run(feeds))

    def close(self) -> None:
        """Release the session."""
        self._session = None

    def _session_of(self, path: Path, folder: Path, options: EngineOptions) -> Any:
        _balance_memory()
        return open_session(path, folder, session_options(options), ["CPUExecutionProvider"])

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(self._names, self._session.run(self._names, dict(feeds)), strict=True))

    def _guard(self, what: str, call: Callable[[], _Value]) -> _Value:
        try:
            return call()
        except ERRORS as exc:
            if out_of_memory(exc):
                raise self._too_large(exc) from exc
            raise EngineError(f"{self.name}: {what}: {exc}") from exc

    def _too_large(self, exc: Exception) -> EngineError:
        return EngineError(f"{self.name}: the memory does not suffice ({exc}); take a smaller size")


def out_of_memory(exc: Exception) -> bool:
    """Whether this is what the library says where memory does not suffice."""
    return "alloc" in str(exc).lower() or "out of memory" in str(exc)


def open_engine(name: str, graph: Graph, folder: Path, options: EngineOptions) -> OrtEngine:
    """Open a graph on the CPU or a GPU, its variant where one is built.

    Raises `InputError` for another device, and a precision that is not the graph's.
    """
    check_precision("onnxruntime", name, graph.precision, options.precision)
    own = variant_of(name, graph, folder, options.device)
    path = own or variant_of(name, graph, folder, "cpu") or folder / graph.file.path
    if options.device == "cuda" and not own and _NORM in path.read_bytes():
        warnings.warn(
            f"{name}: ONNX Runtime takes the group norms of this graph off the GPU; for many times the speed run: "
            f"overpaint build {folder} --engine onnxruntime",
            stacklevel=2,
        )
    return open_path(name, graph, path, folder, options)


def open_path(name: str, graph: Graph, path: Path, folder: Path, options: EngineOptions) -> OrtEngine:
    """Open the graph, or the variant of it at `path`, whose weights are in `folder`; as `open_engine`."""
    if options.device == "cpu":
        return OrtEngine(name, graph, path, folder, options)
    if options.device == "cuda":
        from .cuda import CudaEngine

        return CudaEngine(name, graph, path, folder, options)
    raise unknown("device of onnxruntime", options.device, ("cpu", "cuda"))


def variant_key(name: str, graph: Graph, device: str) -> Key:
    """The key of the variant of a graph, for any version of the library: that for "cpu" serves every device."""
    where = "any" if device == "cpu" else device
    return Key(name, graph.sha256, "any shape", graph.precision, "onnxruntime", f"variant {VARIANT}", where)


def variant_of(name: str, graph: Graph, folder: Path, device: str) -> Path | None:
    """The variant under that key which came with the bundle or was built since."""
    return Store.of(folder).find(variant_key(name, graph, device))


def _balance_memory() -> None:
    """Have glibc return freed buffers of 1 MB and more to the system, and keep 64 MB of smaller ones, process-wide.

    Left alone it comes to keep those of up to 32 MB, which with a large picture's activations adds up to a GB; and
    setting the one alone has it return the top of the heap after every operator, which costs a fifth of a small step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, 2**20)
        mallopt(_M_TRIM_THRESHOLD, 2**26)
        mallopt(_M_TOP_PAD, 2**26)


def session_options(options: EngineOptions) -> Any:
    """The settings of a session on any device."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    # Idle workers spin before they sleep, and each session has its own: they would take the cores from the next graph.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    # What goes wrong is raised; the library need not print it too.
    settings.log_severity_level = 4
    # The arena grows by powers of two and keeps what it has: a large picture would cost twice its memory, for good.
    settings.enable_cpu_mem_arena = False
    return settings


def open_session(path: Path, folder: Path, settings: Any, providers: Sequence[Any]) -> Any:
    """A session of the graph at `path`, whose external data is in `folder`."""
    settings.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder.absolute()))
    # That folder is heeded for a model in memory alone.
    model = str(path) if path.parent == folder else path.read_bytes()
    return onnxruntime.InferenceSession(model, settings, providers=providers)


def _described(value: Any) -> tuple[str, str, list[Any]]:
    return value.name, _DTYPES.get(value.type, value.type), value.shape
