"""Which engine is the fastest that can run a bundle here, and why not the others."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..bundles.manifest import Graphs
from ..bundles.sizes import ROWS
from ..errors import EngineError, NoEngineError, unknown

# What the others are compared with: it runs every graph as it was exported.
REFERENCE = ("onnxruntime", "cpu")
INSTALL_CUDA = "run: pip uninstall onnxruntime onnxruntime-gpu, then pip install 'overpaint[gpu]'"

Obstacle = Callable[[Graphs], str | None]


@dataclass(frozen=True)
class Candidate:
    """An engine on a device, and what keeps it from running a bundle here (None: nothing)."""

    engine: str
    device: str
    obstacle: str | None


def candidates(bundle: Graphs) -> list[Candidate]:
    """All engines that a bundle could run on, the fastest first (by benchmarks/RESULTS.md, on the same device)."""
    return [
        Candidate(engine, device, next(filter(None, (obstacle(bundle) for obstacle in obstacles)), None))
        for engine, device, obstacles in ORDER
    ]


def fastest(bundle: Graphs, device: str | None = None) -> Candidate:
    """The first of the candidates that can run, on `device` where one is named.

    Raises `InputError` for a device that no engine has, `EngineError` where none can run, with what keeps each.
    """
    considered = [candidate for candidate in candidates(bundle) if device in (None, candidate.device)]
    if not considered:
        raise unknown("device of engine 'auto'", str(device), {device for _, device, _ in ORDER})
    usable = [candidate for candidate in considered if candidate.obstacle is None]
    if not usable:
        reasons = "; ".join(f"{one.engine} on {one.device}: {one.obstacle}" for one in considered)
        if device is not None:
            raise NoEngineError(f"no engine can run on device {device!r} here ({reasons}); leave the device out")
        raise EngineError(f"no engine can run here ({reasons})")
    return usable[0]


def faster(bundle: Graphs, than: Candidate) -> Candidate | None:
    """The first of the candidates that can run now, of those on the same device that come before another."""
    ordered = candidates(bundle)
    before = ordered[: [(one.engine, one.device) for one in ordered].index((than.engine, than.device))]
    return next((one for one in before if one.device == than.device and one.obstacle is None), None)


def usual_device(engine: str) -> str:
    """The device that an engine runs on unless another is named: its last among the candidates, the CPU if it can."""
    return next((device for name, device, _ in reversed(ORDER) if name == engine), "cpu")


def _library(module: str, extra: str) -> Obstacle:
    def obstacle(bundle: Graphs) -> str | None:
        return None if find_spec(module) else f"{module} is not installed; run: pip install 'overpaint[{extra}]'"

    return obstacle


def _gpu(bundle: Graphs) -> str | None:
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        present = not driver.cuInit(0) and not driver.cuDeviceGetCount(ctypes.byref(count)) and count.value
    except OSError:
        return "there is no NVIDIA driver"
    return None if present else "there is no NVIDIA GPU"


def _cuda_build(bundle: Graphs) -> str | None:
    """Whether the onnxruntime that is installed is the one for GPUs, without importing it."""
    spec = find_spec("onnxruntime")
    homes = (Path(home) for home in (spec and spec.submodule_search_locations) or ())
    if any(found for home in homes for found in home.glob("capi/*onnxruntime_providers_cuda*")):
        return None
    return f"onnxruntime is built without CUDA; {INSTALL_CUDA}"


def _built(library: str) -> Obstacle:
    def obstacle(bundle: Graphs) -> str | None:
        from .tensorrt.engine import usable

        try:
            for name, graph in bundle.graphs.items():
                if graph.role in ROWS:
                    usable(library, name, graph, bundle.folder)
        except EngineError as exc:
            return str(exc)
        return None

    return obstacle


ORDER: tuple[tuple[str, str, tuple[Obstacle, ...]], ...] = (
    ("tensorrt", "cuda", (_gpu, _library("tensorrt", "tensorrt"), _built("tensorrt"))),
    ("tensorrt_rtx", "cuda", (_gpu, _library("tensorrt_rtx", "rtx"), _built("tensorrt_rtx"))),
    ("onnxruntime", "cuda", (_gpu, _library("cupy", "gpu"), _library("onnxruntime", "gpu"), _cuda_build)),
    ("openvino", "cpu", (_library("openvino", "cpu"),)),
    ("onnxruntime", "cpu", (_library("onnxruntime", "cpu"),)),
)
