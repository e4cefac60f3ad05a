"""Backends by name. A backend's library is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import cast

from ..bundles.graph import Graph
from ..bundles.tensor import Array
from ..errors import unknown
from .base import Engine

BACKENDS: dict[str, str] = {
    "openvino": ".openvino.engine",
    "onnxruntime": ".ort.engine",
    "tensorrt": ".tensorrt.engine",
    "tensorrt_rtx": ".tensorrt.rtx",
    "fake": ".fake",
}
"""By an engine's name the module whose `open_engine` opens a graph; one of another package by its full name."""
SHAPES = ("auto", "static", "dynamic", "tuned")


@dataclass(frozen=True)
class EngineOptions:
    """How to run a graph.

    `device` as the backend names it; `threads` a run (0: the backend's choice); `precision` of the arithmetic (None:
    the fastest that the device has, where the backend can choose); `shapes` "auto", "static" or "dynamic", for backends
    that can compile a graph for one shape; "tuned" is "static", and kernels too are compiled for each shape where the
    backend can (ONNX Runtime on a GPU in float16): seconds more for the first call, some percent less for the others.
    `weights` gives tensors that take the place of the graph's own, by their names in `Graph.stored`; it is called
    whenever the graph is opened, or compiled for a shape.
    """

    device: str = "cpu"
    threads: int = 0
    precision: str | None = None
    shapes: str = "auto"
    weights: Callable[[], Mapping[str, Array]] | None = None


def takes_weights(backend: str) -> bool:
    """Whether a backend opens graphs with `EngineOptions.weights`: its module says so by `TAKES_WEIGHTS`."""
    return bool(getattr(_module(backend), "TAKES_WEIGHTS", False))


def open_engine(backend: str, name: str, graph: Graph, folder: Path, options: EngineOptions) -> Engine:
    """Open the graph `name` of the bundle in `folder` with a backend.

    Raises `InputError` for an unknown engine, `EngineError` where its library is missing or refuses the graph, and
    `BundleError` where the graph's signature is not the manifest's.
    """
    module = _module(backend)
    if options.shapes not in SHAPES:
        raise unknown("kind of shapes", options.shapes, SHAPES)
    return cast("Engine", module.open_engine(name, graph, folder, options))


def _module(backend: str) -> ModuleType:
    if backend not in BACKENDS:
        raise unknown("engine", backend, BACKENDS)
    return import_module(BACKENDS[backend], __package__)
