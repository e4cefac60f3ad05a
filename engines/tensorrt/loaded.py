"""A built engine in memory: read from the store, given its weights where it has none, and asked for contexts."""

from __future__ import annotations

import mmap
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...bundles.store import Key, Store, write_whole
from ...errors import EngineError, OutOfMemoryError
from .built import WEIGHTLESS, Advice, rebuild
from .execution import ExecutionContext
from .library import Messages, captures_itself, logger


class LibraryEngine:
    """An ICudaEngine, and for TensorRT-RTX the cache of the kernels it compiles, in the file `kernels`.

    TensorRT-RTX captures CUDA graphs itself, because it alone knows when a shape's own kernels have been compiled.
    """

    def __init__(self, trt: Any, path: Path, weights: Path | None, kernels: Path) -> None:
        log, self._messages = logger(trt)
        self._messages.forget()
        self._runtime = trt.Runtime(log)  # has to outlive the engine
        self._engine = _deserialised(self._runtime, path, self._messages)
        if weights:
            _refit(trt, self._engine, weights)
        self._kernels = kernels
        self._kept = 0
        self._config: Any = None
        self._cache: Any = None
        if captures_itself(trt):
            self._config = self._engine.create_runtime_config()
            self._config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            self._cache = self._config.create_runtime_cache()
            with suppress(OSError):
                self._cache.deserialize(kernels.read_bytes())
            self._config.set_runtime_cache(self._cache)

    def context(self) -> ExecutionContext:
        """A new execution context; raises `EngineError` where the memory does not suffice."""
        self._messages.forget()
        context: ExecutionContext | None = self._engine.create_execution_context(
            *([self._config] if self._config else [])
        )
        if context is None:
            size = self._engine.device_memory_size_v2 / 1e9
            raise OutOfMemoryError(
                f"the GPU's memory does not suffice, {size:.1f} GB are needed beside the weights "
                f"({self._messages.first()}); free some, or build for smaller sizes"
            )
        return context

    def save(self) -> None:
        """Keep the compiled kernels on disk, where there are new ones and the folder can be written."""
        content = bytes(self._cache.serialize()) if self._cache else b""
        if len(content) > self._kept:
            self._kept = len(content)
            with suppress(OSError):
                write_whole(self._kernels, content)


def load(trt: Any, store: Store, key: Key, onnx: Path, architecture: str, advice: Advice) -> LibraryEngine:
    """Load a built engine, with its weights from the graph at `onnx` where it has none.

    Raises `EngineError` where it is altered, removed, or refused by the library.
    """
    try:
        path = store.find(key)
        if path is None:
            raise EngineError("the engine was removed")
        weights = onnx if key.precision.endswith(WEIGHTLESS) else None
        return LibraryEngine(trt, path, weights, store.folder / f"{key.name}.{architecture}.kernels")
    except EngineError as exc:
        raise type(exc)(f"{key.graph}: {exc}; to build it again, {rebuild(key, advice)}") from exc


def _deserialised(runtime: Any, path: Path, messages: Messages) -> Any:
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        raise EngineError(f"{path}: the library refuses the engine ({messages.first()})")
    return engine


def _refit(trt: Any, engine: Any, onnx: Path) -> None:
    log, messages = logger(trt)
    refitter = trt.Refitter(engine, log)
    if not trt.OnnxParserRefitter(refitter, log).refit_from_file(str(onnx)) or not refitter.refit_cuda_engine():
        raise EngineError(f"the weights of {onnx} do not fit the engine ({messages.first()})")
