"""Which engine is the fastest that can run a bundle here, and why not the others."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from .base import EngineError
from .bundle import Bundle
from .store import Store

# What the others are compared with: it runs every graph as it was exported.
REFERENCE = ("onnxruntime", "cpu")

Obstacle = Callable[[Bundle], str | None]


@dataclass(frozen=True)
class Candidate:
    """An engine on a device, and what keeps it from running a bundle here (None: nothing)."""

    engine: str
    device: str
    obstacle: str | None


def candidates(bundle: Bundle) -> list[Candidate]:
    """All engines that a bundle could run on, the fastest first (by benchmarks/RESULTS.md, on the same device)."""
    return [
        Candidate(engine, device, next(filter(None, (obstacle(bundle) for obstacle in obstacles)), None))
        for engine, device, obstacles in ORDER
    ]


def fastest(bundle: Bundle) -> Candidate:
    """The first of the candidates that can run; raises `EngineError` where none can, with what keeps each."""
    found = candidates(bundle)
    usable = [candidate for candidate in found if candidate.obstacle is None]
    if not usable:
        reasons = "; ".join(f"{candidate.engine} on {candidate.device}: {candidate.obstacle}" for candidate in found)
        raise EngineError(f"no engine can run here ({reasons})")
    return usable[0]


def usual_device(engine: str) -> str:
    """The device that an engine runs on unless another is named: its last among the candidates, the CPU if it can."""
    return next((device for name, device, _ in reversed(ORDER) if name == engine), "cpu")


def _library(module: str, extra: str) -> Obstacle:
    def obstacle(bundle: Bundle) -> str | None:
        return None if find_spec(module) else f"{module} is not installed; run: pip install 'overpaint[{extra}]'"

    return obstacle


def _gpu(bundle: Bundle) -> str | None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver"
    return None


def _built(library: str) -> Obstacle:
    def obstacle(bundle: Bundle) -> str | None:
        built = {(key.graph, key.onnx) for key in Store.of(bundle.folder).built() if key.library == library}
        if missing := sorted(name for name, graph in bundle.graphs.items() if (name, graph.sha256) not in built):
            return f"not built for {', '.join(missing)}; run: overpaint build {bundle.folder} --engine {library}"
        return None

    return obstacle


ORDER: tuple[tuple[str, str, tuple[Obstacle, ...]], ...] = (
    ("tensorrt", "cuda", (_gpu, _library("tensorrt", "tensorrt"), _built("tensorrt"))),
    ("tensorrt_rtx", "cuda", (_gpu, _library("tensorrt_rtx", "rtx"), _built("tensorrt_rtx"))),
    ("onnxruntime", "cuda", (_gpu, _library("cupy", "gpu"), _library("onnxruntime", "gpu"))),
    ("openvino", "cpu", (_library("openvino", "cpu"),)),
    ("onnxruntime", "cpu", (_library("onnxruntime", "cpu"),)),
)
