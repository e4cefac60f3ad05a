"""What a process holds in memory, and how to hold less of it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

_MAPS = Path("/proc/self/maps")
# Of Linux's mman-common.h. It takes nothing from memory that has no file behind it, so that a range which another
# thread has put to another use meanwhile is not harmed, as by MADV_DONTNEED.
_MADV_PAGEOUT = 21
_EVERY = 0.1  # seconds


def out_of_memory(exc: Exception) -> bool:
    """Whether a library's exception says that the memory does not suffice; each has its own words for it."""
    return isinstance(exc, MemoryError) or "alloc" in str(exc).lower() or "out of memory" in str(exc).lower()


@contextmanager
def unloading(paths: Sequence[Path]) -> Iterator[None]:
    """Keep the pages of mapped files out of memory while something reads through them and lays them out anew."""
    if not paths:
        yield
        return
    done = Event()

    def sweep() -> None:
        while not done.wait(_EVERY):
            for path in paths:
                unload_pages(path)

    sweeper = Thread(target=sweep, daemon=True)
    sweeper.start()
    try:
        yield
    finally:
        done.set()
        sweeper.join()
        for path in paths:
            unload_pages(path)


def unload_pages(path: Path) -> None:
    """Let the pages of a file that is mapped, and only read, leave memory, on Linux; what is read again comes back.

    Libraries keep a model's file mapped after they have laid its weights out anew: another copy of them.
    """
    if sys.platform != "linux":
        return
    libc, name = ctypes.CDLL(None), str(path.resolve())
    for line in _MAPS.read_text(errors="surrogateescape").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5] == name:
            start, end = (int(address, 16) for address in fields[0].split("-"))
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_PAGEOUT)
