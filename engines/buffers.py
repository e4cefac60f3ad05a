"""Arrays on the host and on a GPU: numpy's and CuPy's behind one namespace, `xp`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .base import Array, EngineError, unknown

DEVICES = ("cpu", "cuda")


def namespace(device: str) -> Any:
    """numpy for "cpu", CuPy for "cuda".

    Raises `InputError` for another device, `EngineError` where CuPy is missing or finds no GPU.
    """
    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    return np if device == "cpu" else _cupy()


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
    fetched: Array = array.get()  # type: ignore[attr-defined]
    return fetched


def stream() -> int:
    """The address of CuPy's current stream on the GPU, where everything of a run is queued (cudaStream_t)."""
    return int(_cupy().cuda.get_current_stream().ptr)


@cache
def kernel(source: str, name: str) -> Any:
    """A CUDA kernel, compiled at its first launch: `kernel(...)(grid, block, arguments)`.

    Products are not contracted into sums, so that it rounds as numpy does.
    """
    return _cupy().RawKernel(source, name, options=("--fmad=false",))


def out_of_memory(exc: BaseException) -> bool:
    """Whether an exception says that the GPU's memory does not suffice; CuPy's spare blocks are then freed."""
    cupy = _cupy()
    if not isinstance(exc, cupy.cuda.memory.OutOfMemoryError) and "out of memory" not in str(exc).lower():
        return False
    cupy.get_default_memory_pool().free_all_blocks()
    return True


@cache
def _cupy() -> Any:
    try:
        import cupy
    except ImportError as exc:
        raise EngineError("cupy is not installed; run: pip install 'overpaint[gpu]'") from exc
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as exc:
        raise EngineError(f"no usable GPU ({exc}); check nvidia-smi, or run on device 'cpu'") from exc
    return cupy
