"""A bundle's graphs become engines of TensorRT or TensorRT-RTX, several profiles each.

Networks are strongly typed: float16, bfloat16 and int8 are where the graph has them. The libraries' own interface is
used rather than Polygraphy's, which chooses between the two once a process, by an environment variable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..bundles.graph import Graph, Range
from ..bundles.manifest import Graphs
from ..bundles.profile import Profile
from ..bundles.sizes import ROWS, Sizes, profiles
from ..bundles.store import Store, write_whole
from ..engines.tensorrt.built import REFITTABLE, WEIGHTLESS, WHOLE, engine_key
from ..engines.tensorrt.library import known_processors, library, logger
from ..errors import EngineError, InputError, unknown
from .memory import check_memory
from .progress import Progress, Report


@dataclass(frozen=True)
class Made:
    """An engine that is there: its graph, file, bytes and profiles, and the seconds it took, 0 where it was there."""

    graph: str
    path: Path
    size: int
    profiles: tuple[Profile, ...]
    seconds: float


@dataclass(frozen=True)
class Target:
    """What to build with and for: `weights` is `WHOLE`, `REFITTABLE` or `WEIGHTLESS`; processors such as "sm_89"."""

    builder: str
    weights: str
    processors: tuple[str, ...]


def target(
    builder: str, *, refittable: bool = False, weightless: bool = False, processors: Sequence[str] = ()
) -> Target:
    """What some options mean. Without `processors` tensorrt_rtx builds for all it knows from Ampere on, at once.

    tensorrt builds for the GPU that is there. Raises `InputError` for options that do not go together and for an
    unknown processor, `EngineError` where the library, or for tensorrt the GPU, is missing.
    """
    if refittable and weightless:
        raise InputError("a weightless engine is refitted when it is loaded; leave out refittable")
    trt = library(builder)
    weights = WEIGHTLESS if weightless else REFITTABLE if refittable else WHOLE
    known = known_processors(trt)
    for name in processors:
        if not known:
            raise InputError(f"{builder} builds for the GPU that is there; leave out {name}")
        if name not in known:
            raise unknown("processor", name, known)
    if not known:
        from ..engines.tensorrt.device import shared

        return Target(builder, weights, (shared().architecture,))
    # An engine that serves Turing too is slower on all others.
    return Target(builder, weights, tuple(sorted(set(processors) or known.keys() - {"sm_75"})))


def build(
    bundle: Graphs,
    aim: Target,
    sizes: Sequence[Sizes],
    batch: Range,
    names: Sequence[str] = (),
    *,
    report: Report = lambda name, done: True,
    waiting: Callable[[str], None] = lambda name: None,
) -> Iterator[Made]:
    """Build engines for a bundle's graphs (all of known roles without `names`), each given as it is done or found.

    Where another process builds the same engine, `waiting` is told the graph, and its engine is waited for. What fails,
    is cancelled or killed leaves nothing. Raises `InputError` for shapes that the model does not take, before anything
    is built, `EngineError` where the library refuses a graph, the memory would not suffice or `report` cancels, and
    `OutputError` where the engine cannot be kept.
    """
    for name in names:
        if name not in bundle.graphs:
            raise unknown("graph", name, bundle.graphs)
    names = names or [name for name, graph in bundle.graphs.items() if graph.role in ROWS]
    wanted = {name: profiles(name, bundle.graph(name), bundle.model, sizes, batch) for name in names}
    store = Store.of(bundle.folder)
    for name, shapes in wanted.items():
        graph = bundle.graph(name)
        work = _Work(name, graph, bundle.folder / graph.file.path, shapes, aim, store.folder)
        yield work.made(store, report, partial(waiting, name))


@dataclass(frozen=True)
class _Work:
    """One engine to build of the graph in the file `onnx`; timings of kernels are kept in `folder`."""

    name: str
    graph: Graph
    onnx: Path
    shapes: tuple[Profile, ...]
    aim: Target
    folder: Path

    def made(self, store: Store, report: Report, waiting: Callable[[], None]) -> Made:
        trt, seconds = library(self.aim.builder), 0.0
        processors = " ".join(self.aim.processors)
        key = engine_key(
            self.name, self.graph, self.shapes, self.aim.builder, trt.__version__, processors, self.aim.weights
        )

        def make(path: Path) -> None:
            nonlocal seconds
            start = time.perf_counter()
            check_memory(self.name, self.graph, len(self.shapes))
            self._make(trt, path, Progress(self.name, report))
            seconds = time.perf_counter() - start

        path = store.build(key, make, waiting)
        return Made(self.name, path, path.stat().st_size, self.shapes, seconds)

    def _make(self, trt: Any, path: Path, progress: Progress) -> None:
        log, messages = logger(trt)
        messages.forget()
        builder = trt.Builder(log)
        network, config = _network(trt, builder, self.onnx, log), builder.create_builder_config()
        for shape in self.shapes:
            config.add_optimization_profile(self._profile(builder, shape))
        self._set_target(trt, config)
        timings = self.folder / f"timings.{self.aim.builder}.{trt.__version__}.{'.'.join(self.aim.processors)}"
        if _times_kernels(trt):
            _set_timings(config, timings)
        config.progress_monitor = _monitor(trt, progress)
        plan = progress.run(lambda: builder.build_serialized_network(network, config))
        if progress.failure:
            raise progress.failure
        if progress.cancelled:
            raise EngineError(f"{self.name}: the build was cancelled; nothing of it is kept")
        if plan is None:
            raise EngineError(f"{self.name}: {self.aim.builder} cannot build it ({messages.first()}); {self._advice()}")
        with path.open("wb") as stream:
            stream.write(plan)
        if _times_kernels(trt):
            _keep_timings(config, timings)

    def _profile(self, builder: Any, shape: Profile) -> Any:
        profile = builder.create_optimization_profile()
        for spec in self.graph.inputs:
            profile.set_shape(spec.name, *shape.shapes(spec))
        return profile

    def _set_target(self, trt: Any, config: Any) -> None:
        if self.aim.weights == REFITTABLE:
            config.set_flag(trt.BuilderFlag.REFIT)
        if self.aim.weights == WEIGHTLESS:
            config.set_flag(trt.BuilderFlag.STRIP_PLAN)
        if known := known_processors(trt):
            config.num_compute_capabilities = len(self.aim.processors)
            for index, name in enumerate(self.aim.processors):
                config.set_compute_capability(known[name], index)

    def _advice(self) -> str:
        if self.aim.weights == WHOLE:
            return "export the bundle again, or choose another engine"
        return "refittable and weightless engines need a GPU to be built: build where there is one, or without that"


def _network(trt: Any, builder: Any, onnx: Path, log: Any) -> Any:
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(onnx)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        reasons = "; ".join(f"{error.node_operator() or 'the file'}: {error.desc()}" for error in errors[:3])
        raise EngineError(
            f"{onnx}: {trt.__name__} {trt.__version__} cannot read the graph ({reasons}); take a newer version of the "
            "library, or export the bundle again with --opset 18"
        )
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        if layer.type == trt.LayerType.ATTENTION_INPUT:
            layer.__class__ = trt.IAttentionInputLayer  # the library gives layers as their base class
            layer.attention.decomposable = True  # where no fused kernel has the precision and the width of the heads
    return network


def _times_kernels(trt: Any) -> bool:
    """Whether the library chooses kernels by their time when it builds, as TensorRT-RTX does not."""
    return not known_processors(trt)


def _set_timings(config: Any, path: Path) -> None:
    """Have the builder time no kernel again that it has timed on this GPU; what it cannot read is timed anew."""
    content = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _keep_timings(config: Any, path: Path) -> None:
    write_whole(path, bytes(config.get_timing_cache().serialize()))


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.begin(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            progress.end(phase_name)

    return Monitor()
