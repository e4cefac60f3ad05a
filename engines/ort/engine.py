"""ONNX Runtime: opens a graph on the CPU or a GPU, as it was exported or as an optimized graph.

An optimized graph computes the same with operators of ONNX Runtime's own; `export.fusion.fuse` makes it.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ...bundles.graph import Graph
from ...bundles.store import Key, Store
from ...errors import unknown
from ..base import check_precision
from ..registry import EngineOptions
from .cpu import OrtEngine
from .session import SessionEngine

logger = logging.getLogger(__name__)

TAKES_WEIGHTS = True
# Of what `export.fusion.fuse` makes; to be raised when that makes something else.
OPTIMIZED = "3"
# What group norms are made of where they have not been fused.
_NORM = b"InstanceNormalization"


def open_engine(name: str, graph: Graph, folder: Path, options: EngineOptions) -> SessionEngine:
    """Open a graph on the CPU or a GPU, the optimized one where it is built.

    Raises `InputError` for another device, and a precision that is not the graph's.
    """
    check_precision("onnxruntime", name, graph.precision, options.precision)
    if options.weights is not None and any(place.file == graph.file.path for place in graph.stored):
        # Within the optimized graph these weights lie elsewhere.
        return open_path(name, graph, folder / graph.file.path, folder, options)
    own = optimized_graph(name, graph, folder, options.device)
    path = own or optimized_graph(name, graph, folder, "cpu") or folder / graph.file.path
    if options.device == "cuda" and not own and _NORM in path.read_bytes():
        logger.warning(
            "%s: ONNX Runtime takes the group norms of this graph off the GPU; for many times the speed run: "
            "overpaint build %s --engine onnxruntime",
            name,
            folder,
        )
    return open_path(name, graph, path, folder, options)


def open_path(name: str, graph: Graph, path: Path, folder: Path, options: EngineOptions) -> SessionEngine:
    """Open the graph, or the optimized one at `path`, whose weights are in `folder`; as `open_engine`."""
    if options.device == "cpu":
        return OrtEngine(name, graph, path, folder, options)
    if options.device == "cuda":
        from .cuda import CudaEngine

        return CudaEngine(name, graph, path, folder, options)
    raise unknown("device of onnxruntime", options.device, ("cpu", "cuda"))


def optimized_key(name: str, graph: Graph, device: str) -> Key:
    """The key of the optimized graph, for any version of the library: that for "cpu" serves every device.

    Its text calls it a variant, by which the engines that are shipped are found.
    """
    where = "any" if device == "cpu" else device
    return Key(name, graph.sha256, "any shape", graph.precision, "onnxruntime", f"variant {OPTIMIZED}", where)


def optimized_graph(name: str, graph: Graph, folder: Path, device: str) -> Path | None:
    """The optimized graph under that key which came with the bundle or was built since."""
    return Store.of(folder).find(optimized_key(name, graph, device))
