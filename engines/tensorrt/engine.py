"""Engines that TensorRT or TensorRT-RTX has built: found by all that they depend on, loaded, and run."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...bundles.graph import Graph, Range
from ...bundles.kinds import open_bundle
from ...bundles.profile import Profile, lengths_of
from ...bundles.sizes import advice
from ...bundles.store import Key, Store
from ...bundles.tensor import Array
from ...errors import EngineError, InputError
from ..arrays import device_lock
from ..base import ROW_BUCKETS, BaseEngine, check_feeds, check_precision
from ..registry import EngineOptions
from .built import WHOLE, Advice, choose, engine_key, profiles_of
from .execution import Device, Execution, ExecutionContext
from .library import captures_itself, check_processor, library
from .loaded import load


class Loaded(Protocol):
    """An engine in memory."""

    def context(self) -> ExecutionContext:
        """A new execution context; raises `EngineError` where the memory does not suffice."""
        ...

    def save(self) -> None:
        """Keep on disk what the library compiled while running."""
        ...


@dataclass(frozen=True)
class Built:
    """An engine on disk: its profiles, in the order of their indices, and what loads it."""

    profiles: tuple[Profile, ...]
    load: Callable[[], Loaded]


class TensorRTEngine(BaseEngine):
    """The built engines of one graph. Each is loaded when its first shape comes, and given a context a profile.

    A call runs on the narrowest profile that covers its shapes, one call at a time. The first engine is loaded at once,
    so that what is wrong with it is known before a request.
    """

    device = "cuda"
    # Each context keeps one CUDA graph, and TensorRT-RTX compiles kernels for each shape.
    row_buckets = ROW_BUCKETS

    def __init__(
        self,
        name: str,
        graph: Graph,
        built: Sequence[Built],
        device: Device,
        *,
        label: str,
        graphs: bool,
        advice: Advice,
    ) -> None:
        self.name = name
        self.label = label
        self.inputs = graph.inputs
        self.outputs = graph.outputs
        self.precision = graph.precision
        places = [(number, index) for number, engine in enumerate(built) for index in range(len(engine.profiles))]
        self._places = sorted(places, key=lambda place: built[place[0]].profiles[place[1]].volume)
        self.profiles = tuple(built[number].profiles[index] for number, index in self._places)
        self._built = built
        self._device = device
        self._graphs = graphs
        self._advice = advice
        self._loaded: dict[int, Loaded] = {}
        self._executions: dict[tuple[int, int], Execution] = {}
        self._ran: set[tuple[int, tuple[int, ...]]] = set()
        self._unsaved: set[int] = set()
        self._closed = False
        self._load(0)

    @property
    def capture_state(self) -> Hashable | None:
        """The shapes that its contexts are set to, in the sense of being the same; None for a library that captures
        CUDA graphs itself."""
        return tuple(execution.state for execution in self._executions.values()) if self._graphs else None

    def poll(self, idle: bool = False) -> None:
        """Keep what was compiled for shapes that were new; saving it takes a while, so only where nothing waits."""
        if not idle:
            return
        with device_lock(self.device):
            for number in self._unsaved:
                self._loaded[number].save()
            self._unsaved.clear()

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once on arrays by input name, of the host or the device.

        Outputs lie on the host where all inputs do, else on the device, without waiting for it. Raises `EngineError`
        for a shape outside every profile, and where the library or the memory fails.
        """
        if self._closed:
            raise EngineError(f"{self.name}: the engine is closed; load the pipeline again")
        check_feeds(self.name, self.inputs, feeds)
        lengths = lengths_of(self.name, self.inputs, feeds)
        with device_lock(self.device):
            try:
                return self._execution(lengths)(feeds)
            except EngineError as exc:
                self._device.trim()
                raise type(exc)(f"{self.name}: {exc}") from exc

    def close(self) -> None:
        """Release the engines and their memory."""
        with device_lock(self.device):
            for loaded in self._loaded.values():
                loaded.save()
            self._closed = True
            for held in (self._executions, self._loaded, self._unsaved):
                held.clear()
            self._device.trim()

    def _execution(self, lengths: Mapping[str, int]) -> Execution:
        for number, index in self._places:
            if self._built[number].profiles[index].covers(lengths):
                execution, shapes = self._opened(number, index), (index, *lengths.values())
                if (number, shapes) not in self._ran:
                    self._ran.add((number, shapes))
                    self._unsaved.add(number)
                return execution
        lacking = ", ".join(f"{axis} {length}" for axis, length in lengths.items())
        there = "; ".join(map(str, self.profiles))
        advised = self._advice([{axis: Range(length, length, length) for axis, length in lengths.items()}])
        raise EngineError(f"no engine is built for {lacking}, only for (least:usual:most) {there}; {advised}")

    def _opened(self, number: int, index: int) -> Execution:
        if (number, index) not in self._executions:
            profile, context = self._built[number].profiles[index], self._load(number).context()
            self._executions[number, index] = Execution(
                context, index, profile, self.inputs, self.outputs, self._device, graphs=self._graphs
            )
        return self._executions[number, index]

    def _load(self, number: int) -> Loaded:
        if number not in self._loaded:
            self._loaded[number] = self._built[number].load()
        return self._loaded[number]


def open_engine(name: str, graph: Graph, folder: Path, options: EngineOptions) -> TensorRTEngine:
    """Open the engines that TensorRT has built for a graph; raises as `open_built` does."""
    return open_built("tensorrt", name, graph, folder, options)


def open_built(builder: str, name: str, graph: Graph, folder: Path, options: EngineOptions) -> TensorRTEngine:
    """Open the engines that a library has built for a graph of the bundle in `folder`.

    Raises `InputError` for a device or a precision that it does not have, `EngineError` where the library, CuPy or the
    GPU is missing, and where no engine is built or all are stale, foreign or altered: why, and how to build one.
    """
    check_precision(builder, name, graph.precision, options.precision)
    if options.device != "cuda":
        raise InputError(f"{builder} runs on device 'cuda', not {options.device!r}; ask for that")
    keys = usable(builder, name, graph, folder)
    from .device import shared

    trt, device, store, advise = library(builder), shared(), Store.of(folder), _advice(builder, name, folder)

    def built(key: Key) -> Built:
        return Built(
            profiles_of(key), lambda: load(trt, store, key, folder / graph.file.path, device.architecture, advise)
        )

    return TensorRTEngine(
        name,
        graph,
        [built(key) for key in keys],
        device,
        label=f"{builder} {trt.__version__}, {device.name}, {graph.precision}",
        graphs=not captures_itself(trt),
        advice=advise,
    )


def usable(builder: str, name: str, graph: Graph, folder: Path) -> list[Key]:
    """The engines of a graph that can run here; raises `EngineError` as `open_built` does."""
    trt = library(builder)
    from .device import shared

    check_processor(trt, builder, shared().architecture)
    wanted = engine_key(name, graph, (), builder, trt.__version__, shared().architecture, WHOLE)
    return choose(Store.of(folder).built(), wanted, _advice(builder, name, folder))


def _advice(builder: str, name: str, folder: Path) -> Advice:
    return lambda lengths: advice(open_bundle(folder, verify=False), builder, name, lengths)
