"""A stand-in for CuPy on a machine without a GPU: strict about what is on which side, and counting what waits for it.

A `RawKernel` is compiled as C++ and run for every thread, so that the kernels' own arithmetic is what is tested.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.lib.mixins import NDArrayOperatorsMixin

from overpaint.engines import arrays

SHIM = """
#include <cmath>
using std::isfinite;
#define __global__
#define __device__ static
struct Index { long long x; };
static thread_local Index blockIdx, blockDim, threadIdx;
"""
CALL = """
extern "C" void launch(long long grid, long long block, PARAMETERS) {
    blockDim.x = block;
    for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < block; ++threadIdx.x) NAME(ARGUMENTS);
}
"""


class Array(NDArrayOperatorsMixin):
    """An array of the device: it mixes with others of its kind and with scalars, and is read through `get` alone."""

    waits = 0
    """How many times the host has waited for a value."""

    def __init__(self, host: Any) -> None:
        self.host = np.asarray(host)

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    nbytes = property(lambda self: self.host.nbytes)
    data = property(lambda self: SimpleNamespace(ptr=self.host.ctypes.data))

    def get(self) -> Any:
        Array.waits += 1
        return self.host.copy()

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __bool__(self) -> bool:
        return bool(self.get())

    def __float__(self) -> float:
        return float(self.get())

    __int__ = __index__ = None

    def __iter__(self) -> Iterator[Array]:
        return (self[index] for index in range(len(self)))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        options = {name: tuple(map(bare, value)) if name == "out" else value for name, value in options.items()}
        made = getattr(ufunc, method)(*map(bare, inputs), **options)
        return self if "out" in options else Array(made)

    def __getitem__(self, key: Any) -> Array:
        return Array(self.host[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.host[key] = bare(value)

    def __len__(self) -> int:
        return len(self.host)

    def __getattr__(self, name: str) -> Any:
        if name not in {"astype", "copy", "reshape", "transpose", "mean", "std", "all", "any", "argmax"}:
            raise AttributeError(name)

        @np.errstate(invalid="ignore")  # a device says nothing of NaN that is no integer
        def call(*values: Any, **options: Any) -> Array:
            return Array(getattr(self.host, name)(*values, **options))

        return call


def bare(value: Any) -> Any:
    """What a device array holds; refuses a host array, as CuPy does."""
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"Unsupported type {type(value)}")
    return value.host if isinstance(value, Array) else value


def function(name: str) -> Any:
    """numpy's function on device arrays, alone or in a list."""

    def call(*values: Any, **options: Any) -> Array:
        values = tuple([bare(part) for part in value] if isinstance(value, list) else bare(value) for value in values)
        options = {option: bare(value) for option, value in options.items()}
        return Array(getattr(np, name)(*values, **options))

    return call


class RawKernel:
    """A kernel that a C++ compiler makes of its source."""

    def __init__(self, source: str, name: str, options: Sequence[str]) -> None:
        assert options == ("--fmad=false",)
        (found,) = re.findall(rf"__global__ void {name}\((.*?)\)", source, re.DOTALL)
        names = ", ".join(parameter.split()[-1].lstrip("*") for parameter in found.split(","))
        call = CALL.replace("PARAMETERS", found).replace("ARGUMENTS", names).replace("NAME", name)
        folder = Path(tempfile.mkdtemp())
        (folder / "kernel.cpp").write_text(SHIM + source + call)
        command = ["g++", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "kernel.cpp", "-o", "kernel.so"]
        subprocess.run(command, cwd=folder, check=True)
        self._launch = ctypes.CDLL(str(folder / "kernel.so")).launch
        shutil.rmtree(folder)

    def __call__(self, grid: tuple[int], block: tuple[int], arguments: Sequence[Any]) -> None:
        passed = []
        for argument in arguments:
            if isinstance(argument, Array):
                assert argument.host.flags.c_contiguous
                passed.append(ctypes.c_void_p(argument.host.ctypes.data))
            else:
                assert type(argument) is np.int64
                passed.append(ctypes.c_longlong(argument))
        self._launch(ctypes.c_longlong(grid[0]), ctypes.c_longlong(block[0]), *passed)


class Graph:
    """What was queued between the beginning and the end of a capture; the stand-in only counts its launches."""

    def __init__(self) -> None:
        self.launched = 0

    def launch(self, stream: Stream) -> None:
        self.launched += 1


class Stream:
    """A stream; `used` holds the one that is current, by thread."""

    ptr = 7
    used: ClassVar[dict[int, Stream]] = {}
    capturing = False

    def __init__(self, non_blocking: bool) -> None:
        assert non_blocking

    def use(self) -> None:
        Stream.used[get_ident()] = self

    def begin_capture(self) -> None:
        assert not self.capturing
        self.capturing = True

    def end_capture(self) -> Graph:
        assert self.capturing
        self.capturing = False
        return Graph()


class Pool:
    """A memory pool."""

    def free_all_blocks(self) -> None:
        pass

    def malloc(self, size: int) -> None:
        pass


def borrowed(shape: tuple[int, ...], dtype: Any, memory: Any) -> Array:
    """`cupy.ndarray` over memory that another library owns."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    assert size <= memory.size
    held = (ctypes.c_char * size).from_address(memory.ptr)
    array = Array(np.frombuffer(held, dtype).reshape(shape))
    array.owner = memory.owner
    return array


@contextmanager
def allocator(_: Any) -> Iterator[None]:
    yield


NAMES = ("stack", "concatenate", "zeros_like", "empty_like", "isfinite", "clip", "rint", "ascontiguousarray")
CUPY: Any = SimpleNamespace(
    **{name: function(name) for name in NAMES},
    zeros=lambda shape, dtype: Array(np.zeros(shape, dtype)),
    empty=lambda shape, dtype: Array(np.full(shape, 9, dtype)),
    asarray=lambda value: value if isinstance(value, Array) else Array(np.array(value)),
    ndarray=borrowed,
    get_default_memory_pool=Pool,
    RawKernel=RawKernel,
    cuda=SimpleNamespace(
        Stream=Stream,
        MemoryPool=Pool,
        using_allocator=allocator,
        UnownedMemory=lambda ptr, size, owner: SimpleNamespace(ptr=ptr, size=size, owner=owner),
        MemoryPointer=lambda memory, offset: memory,
        runtime=SimpleNamespace(
            getDeviceCount=lambda: 1, memGetInfo=lambda: (2 * 2**30, 8 * 2**30), CUDARuntimeError=RuntimeError
        ),
    ),
)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The stand-in in CuPy's place."""
    if not shutil.which("g++"):
        pytest.skip("the kernels are compiled with g++, which is not installed")
    caches = (arrays.kernel, arrays._library)
    monkeypatch.setitem(__import__("sys").modules, "cupy", CUPY)
    for cached in caches:
        cached.cache_clear()
    Array.waits = 0
    yield CUPY
    for cached in caches:
        cached.cache_clear()
