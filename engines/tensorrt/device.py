"""What an engine needs of an NVIDIA GPU, through CuPy: memory, a stream, copies, captured graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from ...bundles.tensor import Array
from ...errors import EngineError, OutOfMemoryError
from ..arrays import namespace, pointer, stream
from ..capture import record, recording
from ..memory import out_of_memory

cupy = namespace("cuda")


class Cuda:
    """The current device and the package's stream, which waits for the caller's work and has the caller's wait for it.

    No method but `read` onto the host synchronises with the host.
    """

    def __init__(self) -> None:
        with _guard("no NVIDIA GPU can be used"):
            properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
            self._stream = stream()
        self.name: str = properties["name"].decode()
        self.architecture = f"sm_{properties['major']}{properties['minor']}"

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return int(self._stream.ptr)

    @contextmanager
    def ordered(self) -> Iterator[None]:
        """Work enqueued inside runs on the stream, after the caller's earlier and before its later work.

        Under the `device_lock`, lest another thread's work come into a graph that is being captured.
        """
        caller = cupy.cuda.get_current_stream()
        with _guard("the GPU failed"):
            self._stream.wait_event(caller.record())
            with self._stream:
                yield
            caller.wait_event(self._stream.record())

    def allocate(self, size: int) -> Any:
        """Memory of `size` bytes; raises `OutOfMemoryError` where the device has no more."""
        with _guard(f"the GPU has no {size / 1e6:.0f} MB of memory left"):
            return cupy.empty(max(size, 1), np.uint8)

    def address(self, memory: Any) -> int:
        """Where memory lies on the device."""
        return pointer(memory)

    def recording(self) -> bool:
        """Whether a CUDA graph is being recorded that what is queued comes into."""
        return recording()

    def on_device(self, array: Array) -> bool:
        """Whether an array lies on the device already."""
        return isinstance(array, cupy.ndarray)

    def write(self, memory: Any, array: Array) -> None:
        """Enqueue a copy of an array, of host or device, to the beginning of memory."""
        target = memory[: array.nbytes].view(array.dtype).reshape(array.shape)
        if self.on_device(array):
            target[...] = array
        else:
            target.set(np.asarray(array, order="C"), stream=self._stream)

    def read(self, memory: Any, shape: tuple[int, ...], dtype: str, *, host: bool) -> Array:
        """A copy of what memory begins with: on the host, once it is there, or on the device, enqueued."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        source = memory[:size].view(dtype).reshape(shape)
        copy: Array = source.get(stream=self._stream, blocking=True) if host else source.copy()
        return copy

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """Record what `enqueue` puts on the stream as a CUDA graph, without running it; gives what runs it."""
        graph, _ = record(enqueue)
        return lambda: graph.launch(self._stream)

    def trim(self) -> None:
        """Give unused memory back to the device."""
        cupy.get_default_memory_pool().free_all_blocks()


@cache
def shared() -> Cuda:
    """The device, one for the process, so that engines share a stream; raises `EngineError` where there is none."""
    return Cuda()


@contextmanager
def _guard(what: str) -> Iterator[None]:
    kinds = cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError, cupy.cuda.memory.OutOfMemoryError
    try:
        yield
    except kinds as exc:
        kind = OutOfMemoryError if out_of_memory(exc) else EngineError
        raise kind(f"{what}: {exc}") from exc
