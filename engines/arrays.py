"""Arrays on the host and on a GPU: numpy's and CuPy's behind one namespace, `xp`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from threading import RLock
from typing import Any

import numpy as np

from ..bundles.tensor import Array
from ..errors import NoEngineError, unknown

DEVICES = ("cpu", "cuda")

_device_lock = RLock()


def namespace(device: str) -> Any:
    """numpy for "cpu", CuPy for "cuda".

    Raises `InputError` for another device, `EngineError` where CuPy is missing or finds no GPU.
    """
    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    if device == "cpu":
        return np
    cupy, queue = _library()
    queue.use()
    return cupy


def device_of(array: Array) -> str:
    """Where an array lives: "cpu" or "cuda"."""
    return "cpu" if isinstance(array, (np.ndarray, np.generic)) else "cuda"


def namespace_of(array: Array) -> Any:
    """The library an array belongs to."""
    return namespace(device_of(array))


def to_device(array: Array, device: str) -> Array:
    """The array on `device`, itself where it is there already.

    An upload waits for nothing: CuPy copies the array into pinned memory at once, from where the device fetches it in
    the order of the current stream. A download waits for the device.
    """
    if device == "cpu":
        return to_host(array)
    moved: Array = namespace(device).asarray(array)
    return moved


def to_host(array: Array) -> Array:
    """The array in numpy, itself where it is there already; waits for the device."""
    if device_of(array) == "cpu":
        return array
    namespace("cuda")  # in a thread of its own, an array would be read before what makes it is done
    fetched: Array = array.get()  # type: ignore[attr-defined]
    return fetched


def stream() -> Any:
    """The one CuPy stream where everything of this package is queued.

    Not CUDA's default stream, which no graph can be captured from. It is made the current one of every thread that
    asks for the namespace.
    """
    return _library()[1]


def device_lock(device: str) -> AbstractContextManager[object]:
    """While it lasts, no other thread queues work on a GPU: it would come into a graph that is being captured there.

    One thread may take several turns, one in another.
    """
    return _device_lock if device == "cuda" else nullcontext()


def pointer(array: Array) -> int:
    """The address of a CuPy array's first element on the GPU."""
    device_array: Any = array
    return int(device_array.data.ptr)


def wrap(pointer: int, shape: Sequence[int], dtype: str, owner: object) -> Array:
    """An array over device memory of another library, which `owner` keeps alive."""
    cupy = namespace("cuda")
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(pointer, size, owner), 0)
    array: Array = cupy.ndarray(tuple(shape), np.dtype(dtype), memory)
    return array


def free_memory() -> int:
    """The bytes of the GPU's memory that nothing uses, after CuPy has let its spare blocks go."""
    cupy = namespace("cuda")
    cupy.get_default_memory_pool().free_all_blocks()
    return int(cupy.cuda.runtime.memGetInfo()[0])


@cache
def kernel(source: str, name: str) -> Any:
    """A CUDA kernel, compiled at its first launch: `kernel(...)(grid, block, arguments)`.

    Products are not contracted into sums, so that it rounds as numpy does.
    """
    return _library()[0].RawKernel(source, name, options=("--fmad=false",))


@cache
def _library() -> tuple[Any, Any]:
    """CuPy, and the stream."""
    try:
        import cupy
    except ImportError as exc:
        raise NoEngineError("cupy is not installed; run: pip install 'overpaint[gpu]'") from exc
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as exc:
        raise NoEngineError(f"no usable GPU ({exc}); check nvidia-smi, or run on device 'cpu'") from exc
    return cupy, cupy.cuda.Stream(non_blocking=True)
