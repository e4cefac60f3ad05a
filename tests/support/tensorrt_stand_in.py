"""Stand-ins for TensorRT's execution contexts and for a GPU, as strict as the manuals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np

from overpaint.bundles.graph import Range
from overpaint.bundles.profile import Profile
from overpaint.bundles.tensor import Array, TensorSpec

STREAM = 7
X = TensorSpec("x", "float32", ("rows", 2, "width"))
SCALE = TensorSpec("scale", "int64", ())
Y = TensorSpec("y", "float32", ("rows", 2, "width"))
PROFILES = [
    Profile({"rows": Range(1, 1, 2), "width": Range(4, 4, 8)}),
    Profile({"rows": Range(2, 2, 2), "width": Range(4, 4, 4)}),
]


class OnDevice(np.ndarray):
    """An array that stands for one in the device's memory."""


class StandInDevice:
    """A device whose memory is the host's, and which minds the order of what it is told."""

    stream = STREAM

    def __init__(self) -> None:
        self.memory: dict[int, Array] = {}
        self.inside = False
        self.recorded: list[Callable[[], None]] | None = None
        self.outer = False
        self.captures = self.replays = self.trims = 0

    @contextmanager
    def ordered(self) -> Iterator[None]:
        assert not self.inside
        self.inside = True
        try:
            yield
        finally:
            self.inside = False

    def allocate(self, size: int) -> Array:
        assert self.inside
        memory = np.zeros(size, np.uint8)
        self.memory[id(memory)] = memory
        return memory

    def address(self, memory: Array) -> int:
        return id(memory)

    def recording(self) -> bool:
        return self.outer

    def on_device(self, array: Array) -> bool:
        return isinstance(array, OnDevice)

    def write(self, memory: Array, array: Array) -> None:
        assert self.inside
        assert self.recorded is None
        memory[: array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)

    def read(self, memory: Array, shape: tuple[int, ...], dtype: str, *, host: bool) -> Array:
        assert self.inside
        count = int(np.prod(shape))
        array = memory[: count * np.dtype(dtype).itemsize].view(dtype).reshape(shape).copy()
        return array if host else array.view(OnDevice)

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        assert self.inside
        assert not self.outer
        self.recorded, self.captures = [], self.captures + 1
        enqueue()
        (work,), self.recorded = self.recorded, None

        def replay() -> None:
            assert self.inside
            self.replays += 1
            work()

        return replay

    def trim(self) -> None:
        self.trims += 1


class StandInContext:
    """An execution context of y = scale · x. It refuses what the library refuses, and fails where that would not."""

    def __init__(self, device: StandInDevice, profiles: list[Profile]) -> None:
        self._device = device
        self._profiles = profiles
        self._profile: Profile | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._inferred = False
        self._warm = False
        self._generation = 0
        self.calls: list[str] = []
        self.refuses = False

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert self._device.inside
        assert stream_handle == STREAM
        self.calls.append("profile")
        self._profile = self._profiles[profile_index]
        self._shapes, self._inferred = {}, False
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self._profile, "shapes before a profile"
        self.calls.append(f"shape {name}")
        spec = {"x": X, "scale": SCALE}[name]
        least, _, most = self._profile.shapes(spec)
        if len(shape) != len(least) or not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
            return False
        self._shapes[name] = shape
        self._inferred = self._warm = False
        self._generation += 1
        return True

    def infer_shapes(self) -> list[str]:
        missing = [name for name in ("x", "scale") if name not in self._shapes]
        self._inferred = not missing
        return missing

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert self._inferred, "an output's shape before the inputs' are known"
        return self._shapes["x" if name == "y" else name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.calls.append(f"bind {name}")
        assert memory in self._device.memory, "an address of no memory"
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert stream_handle == STREAM
        assert self._device.inside
        assert self._inferred, "run before the shapes were set"
        assert self._addresses.keys() == {"x", "scale", "y"}, "run with tensors unbound"
        if self.refuses:
            return False
        generation = self._generation

        def work() -> None:
            assert generation == self._generation, "a graph replayed after the shapes changed"
            shape, memory = self._shapes["x"], {key: self._device.memory[at] for key, at in self._addresses.items()}
            size = int(np.prod(shape)) * 4
            assert all(len(memory[name]) >= size for name in ("x", "y")), "memory too small"
            result = memory["x"][:size].view(np.float32) * memory["scale"][:8].view(np.int64)[0]
            memory["y"][:size] = result.astype(np.float32).view(np.uint8)

        if self._device.recorded is None:
            self._warm = True
            work()
        else:
            assert self._warm, "the first run with new shapes cannot be captured"
            self._device.recorded.append(work)
        return True


class StandInLibrary:
    """The part of the library that loads engines: b"engine" deserialises, b"stripped" wants its weights first."""

    __version__ = "1.7.1"
    CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole")

    class ILogger:
        """What loggers derive from."""

        Severity = SimpleNamespace(ERROR="error", INTERNAL_ERROR="internal", WARNING="warning")

        def log(self, severity: str, message: str) -> None:
            raise NotImplementedError

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fits = True
        self.memory = True
        self.kernels = b""

    def say(self, log: ILogger, message: str) -> None:
        log.log("warning", "of no interest")
        log.log("error", message)

    def Runtime(self, log: ILogger) -> SimpleNamespace:  # noqa: N802
        def deserialize(content: bytes) -> SimpleNamespace | None:
            if bytes(content) not in (b"engine", b"stripped"):
                return self.say(log, "not an engine")
            return self._engine(log, stripped=bytes(content) == b"stripped")

        return SimpleNamespace(deserialize_cuda_engine=deserialize)

    def Refitter(self, engine: SimpleNamespace, log: ILogger) -> SimpleNamespace:  # noqa: N802
        def refit() -> bool:
            assert self.calls[-1].startswith("weights of"), "refitted before there are weights"
            engine.stripped = False
            return True

        return SimpleNamespace(refit_cuda_engine=refit)

    def OnnxParserRefitter(self, refitter: SimpleNamespace, log: ILogger) -> SimpleNamespace:  # noqa: N802
        def refit(path: str) -> bool:
            self.calls.append(f"weights of {path}")
            return self.fits or bool(self.say(log, "a weight has another shape"))

        return SimpleNamespace(refit_from_file=refit)

    def _engine(self, log: ILogger, *, stripped: bool) -> SimpleNamespace:
        engine = SimpleNamespace(stripped=stripped, device_memory_size_v2=3_000_000_000)

        def context(config: SimpleNamespace) -> str | None:
            assert not engine.stripped, "run without weights"
            assert config.cache is not None
            assert config.cuda_graph_strategy == "whole"
            return "context" if self.memory else self.say(log, "out of memory")

        engine.create_execution_context = context
        engine.create_runtime_config = self._config
        return engine

    def _config(self) -> SimpleNamespace:
        def deserialize(content: bytes) -> bool:
            self.calls.append(f"kernels {content.decode()}")
            return True

        config = SimpleNamespace(cache=None)
        config.create_runtime_cache = lambda: SimpleNamespace(deserialize=deserialize, serialize=lambda: self.kernels)
        config.set_runtime_cache = lambda cache: setattr(config, "cache", cache)
        return config
