"""ONNX Runtime: its one import, and what sessions on every device share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ...bundles.graph import Graph, StoredWeight
from ...bundles.tensor import Array
from ...errors import EngineError, NoEngineError, OutOfMemoryError
from ..base import BaseEngine, check_feeds, check_signature
from ..memory import out_of_memory
from ..registry import EngineOptions
from .weights import replaced

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
library: Any = onnxruntime
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
}
_Value = TypeVar("_Value")


class SessionEngine(BaseEngine):
    """A graph, or the optimized one at `path`, in an ONNX Runtime session; `folder` holds its weights.

    A subclass opens the session of its device, and runs it.
    """

    def __init__(self, name: str, graph: Graph, path: Path, folder: Path, options: EngineOptions) -> None:
        self.name = name
        fused = "" if path == folder / graph.file.path else ", fused"
        self.label = f"onnxruntime {library.__version__}, {self.device}, {graph.precision}{fused}"
        self.inputs = graph.inputs
        self.outputs = graph.outputs
        self.precision = graph.precision
        self._stored = graph.stored
        self._open = partial(self._session_of, path, folder, options)
        self._session: Any = self._guard("cannot load the graph", self._open)
        check_signature(path, "inputs", graph.inputs, map(_described, self._session.get_inputs()))
        check_signature(path, "outputs", graph.outputs, map(_described, self._session.get_outputs()))

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once on arrays by input name; raises `EngineError`."""
        if self._session is None:
            raise EngineError(f"{self.name}: the engine is closed; load the pipeline again")
        check_feeds(self.name, self.inputs, feeds)
        return self._guard("failed while running", lambda: self._run(feeds))

    def close(self) -> None:
        """Release the session."""
        self._session = None

    @abstractmethod
    def _session_of(self, path: Path, folder: Path, options: EngineOptions) -> Any:
        """A session of the graph at `path`."""

    @abstractmethod
    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the session on feeds that fit."""

    def _guard(self, what: str, call: Callable[[], _Value]) -> _Value:
        try:
            return call()
        except ERRORS as exc:
            if out_of_memory(exc):
                raise self._too_large(exc) from exc
            raise EngineError(f"{self.name}: {what}: {exc}") from exc

    def _too_large(self, exc: Exception) -> OutOfMemoryError:
        return OutOfMemoryError(
            f"{self.name}: the memory does not suffice ({exc}); take a smaller size or fewer rows a call (max_rows)"
        )


def session_options(options: EngineOptions) -> Any:
    """The settings of a session on any device."""
    settings = library.SessionOptions()
    settings.intra_op_num_threads = options.threads
    # Idle workers spin before they sleep, and each session has its own: they would take the cores from the next graph.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    # What goes wrong is raised; the library need not print it too.
    settings.log_severity_level = 4
    # The arena grows by powers of two and keeps what it has: a large picture would cost twice its memory, for good.
    settings.enable_cpu_mem_arena = False
    return settings


def open_session(
    path: Path,
    folder: Path,
    settings: Any,
    providers: Sequence[Any],
    stored: Sequence[StoredWeight] = (),
    weights: Callable[[], Mapping[str, Array]] | None = None,
) -> Any:
    """A session of the graph at `path`, whose external data is in `folder`; `weights` take the place of its `stored`
    ones."""
    settings.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder.absolute()))
    # That folder is heeded for a model in memory alone.
    model = str(path) if path.parent == folder else path.read_bytes()
    if weights is not None:
        within, outside = replaced(path, stored, weights())
        names, values = list(outside), map(library.OrtValue.ortvalue_from_numpy, outside.values())
        settings.add_external_initializers(names, list(values))
        model = within or model
    return library.InferenceSession(model, settings, providers=providers)


def _described(value: Any) -> tuple[str, str, list[Any]]:
    return value.name, _DTYPES.get(value.type, value.type), value.shape
