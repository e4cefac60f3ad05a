"""TensorRT-RTX: TensorRT's interface, for the GPUs of desktops and workstations; it builds without one."""

from __future__ import annotations

from pathlib import Path

from ...bundles.graph import Graph
from ..registry import EngineOptions
from .engine import TensorRTEngine, open_built


def open_engine(name: str, graph: Graph, folder: Path, options: EngineOptions) -> TensorRTEngine:
    """Open the engines that TensorRT-RTX has built for a graph; raises `EngineError` where none can be used."""
    return open_built("tensorrt_rtx", name, graph, folder, options)
