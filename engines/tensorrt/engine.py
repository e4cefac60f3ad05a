"""Engines that TensorRT or TensorRT-RTX has built: found by all that they depend on, loaded, and run."""

from __future__ import annotations

import mmap
import re
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...bundles.graph import Graph, Range
from ...bundles.profile import Profile, advice, lengths_of
from ...bundles.store import Key, Store, write_whole
from ...bundles.tensor import Array
from ...bundles.upscaler import open_bundle
from ...errors import EngineError, InputError, NoEngineError, unknown
from ..arrays import device_lock
from ..base import check_feeds, check_precision
from .built import WEIGHTLESS, WHOLE, Mend, choose, engine_key, profiles_of, rebuild
from .execution import Device, Execution, ExecutionContext

if TYPE_CHECKING:
    from ..registry import EngineOptions

# The first versions whose parser reads the Attention of opset 23.
LEAST: Mapping[str, tuple[int, int]] = {"tensorrt": (10, 14), "tensorrt_rtx": (1, 7)}
EXTRAS: Mapping[str, str] = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}


def library(name: str) -> Any:
    """Import "tensorrt" or "tensorrt_rtx"; raises `EngineError` where it is missing, broken or too old."""
    if name not in LEAST:
        raise unknown("TensorRT library", name, LEAST)
    mend = f"run: pip install --upgrade 'overpaint[{EXTRAS[name]}]'"
    try:
        module = import_module(name)
    except ImportError as exc:
        raise NoEngineError(f"{name} is not installed, or not for this system ({exc}); {mend}") from exc
    except (OSError, RuntimeError) as exc:
        raise EngineError(f"{name} cannot be loaded ({exc}); {mend}") from exc
    found = tuple(int(part) for part in re.findall("[0-9]+", module.__version__)[:2])
    if found < LEAST[name]:
        wanted = ".".join(map(str, LEAST[name]))
        raise EngineError(f"{name} {module.__version__} is too old, {wanted} is the least; {mend}")
    return module


class Messages:
    """What the library last complained of, kept for the error that may follow."""

    def __init__(self) -> None:
        self._last: deque[str] = deque(maxlen=8)

    def forget(self) -> None:
        """Something else begins, which earlier messages are not about."""
        self._last.clear()

    def note(self, message: str) -> None:
        """Keep a message."""
        self._last.append(message)

    def first(self) -> str:
        """The first message, as the cause is told before its consequences.

        Without a GPU the library complains of that even where it needs none, so such messages come last.
        """
        return min(
            list(self._last), key=lambda message: "cudaError 35" in message, default="the library gives no reason"
        )


@cache
def logger(trt: Any) -> tuple[Any, Messages]:
    """A logger for the library and what it hears; one a process, because the library keeps the first it is given."""
    messages, errors = Messages(), (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in errors:
                messages.note(message)

    return Logger(), messages


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


class TensorRTEngine:
    """The built engines of one graph. Each is loaded when its first shape comes, and given a context a profile.

    A call runs on the narrowest profile that covers its shapes, one call at a time. The first engine is loaded at once,
    so that what is wrong with it is known before a request.
    """

    device = "cuda"

    def __init__(
        self,
        name: str,
        graph: Graph,
        built: Sequence[Built],
        device: Device,
        *,
        label: str,
        graphs: bool,
        mend: Mend,
    ) -> None:
        self.name = name
        self.label = label
        self.inputs = graph.inputs
        self.outputs = graph.outputs
        places = [(number, index) for number, engine in enumerate(built) for index in range(len(engine.profiles))]
        self._places = sorted(places, key=lambda place: built[place[0]].profiles[place[1]].volume)
        self._built = built
        self._device = device
        self._graphs = graphs
        self._mend = mend
        self._loaded: dict[int, Loaded] = {}
        self._executions: dict[tuple[int, int], Execution] = {}
        self._ran: set[tuple[int, tuple[int, ...]]] = set()
        self._unsaved: set[int] = set()
        self._closed = False
        self._load(0)

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The profiles there are, narrowest first."""
        return tuple(self._built[number].profiles[index] for number, index in self._places)

    @property
    def capture_state(self) -> Hashable | None:
        """The shapes that its contexts are set to, in the sense of being the same; None for a library that captures
        CUDA graphs itself."""
        return tuple(execution.state for execution in self._executions.values()) if self._graphs else None

    def begin_run(self) -> None:
        """Nothing takes over."""

    def end_run(self) -> None:
        """Keep what was compiled for shapes that were new in this run."""
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
                raise EngineError(f"{self.name}: {exc}") from exc

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
        asked = ", ".join(f"{axis} {length}" for axis, length in lengths.items())
        there = "; ".join(map(str, self.profiles))
        mend = self._mend([{axis: Range(length, length, length) for axis, length in lengths.items()}])
        raise EngineError(f"no engine is built for {asked}, only for (least:usual:most) {there}; {mend}")

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
            raise EngineError(
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


def captures_itself(trt: Any) -> bool:
    """Whether the library captures CUDA graphs by itself."""
    return hasattr(trt, "CudaGraphStrategy")


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

    trt, device, store, mend = library(builder), shared(), Store.of(folder), _mend(builder, name, folder)

    def built(key: Key) -> Built:
        return Built(
            profiles_of(key), lambda: load(trt, store, key, folder / graph.file.path, device.architecture, mend)
        )

    return TensorRTEngine(
        name,
        graph,
        [built(key) for key in keys],
        device,
        label=f"{builder} {trt.__version__}, {device.name}, {graph.precision}",
        graphs=not captures_itself(trt),
        mend=mend,
    )


def usable(builder: str, name: str, graph: Graph, folder: Path) -> list[Key]:
    """The engines of a graph that can run here; raises `EngineError` as `open_built` does."""
    trt = library(builder)
    from .device import shared

    check_processor(trt, builder, shared().architecture)
    wanted = engine_key(name, graph, (), builder, trt.__version__, shared().architecture, WHOLE)
    return choose(Store.of(folder).built(), wanted, _mend(builder, name, folder))


def known_processors(trt: Any) -> dict[str, Any]:
    """The processors that the library builds for on any machine, by name; none where it needs the GPU itself."""
    members = getattr(getattr(trt, "ComputeCapability", None), "__members__", {})
    return {f"sm_{name[2:]}": value for name, value in members.items() if name.startswith("SM")}


def check_processor(trt: Any, builder: str, architecture: str) -> None:
    """Raise `EngineError` for a processor that the library builds nothing for: not one that it names, nor a later."""
    known = sorted(known_processors(trt), key=_number)
    if known and architecture not in known and _number(architecture) < _number(known[-1]):
        raise EngineError(
            f"{builder} {trt.__version__} does not run on this GPU: it is {architecture}, and the library knows "
            f"{', '.join(known)} and later ones; use onnxruntime or tensorrt"
        )


def _number(architecture: str) -> int:
    return int(architecture.removeprefix("sm_"))


def _mend(builder: str, name: str, folder: Path) -> Mend:
    return lambda lengths: advice(open_bundle(folder, verify=False), builder, name, lengths)


def load(trt: Any, store: Store, key: Key, onnx: Path, architecture: str, mend: Mend) -> LibraryEngine:
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
        raise EngineError(f"{key.graph}: {exc}; to build it again, {rebuild(key, mend)}") from exc


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
