"""Work on a GPU recorded once as a CUDA graph, and replayed: the host's part of it is then a single call."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from . import buffers

_Made = TypeVar("_Made")


class Capture(Generic[_Made]):
    """Work that is the same each time: it reads and writes the same arrays, and asks nothing of the device.

    The first call does the work twice, once so that kernels are compiled and memory is there, once to record it; so the
    work must bear being done twice. What the work returns is kept: every call writes those arrays anew.
    """

    def __init__(self, work: Callable[[], _Made]) -> None:
        self._work = work
        self._recorded: tuple[Any, _Made] | None = None
        # Its own, so that nothing else is ever given the memory that the graph writes to.
        self._pool = buffers.namespace("cuda").cuda.MemoryPool()

    def __call__(self) -> _Made:
        """Queue the work, and give what it returned."""
        if self._recorded is None:
            self._recorded = self._record()
        graph, made = self._recorded
        graph.launch(buffers.stream())
        return made

    def _record(self) -> tuple[Any, _Made]:
        cuda, queue = buffers.namespace("cuda").cuda, buffers.stream()
        with cuda.using_allocator(self._pool.malloc):
            self._work()
            queue.begin_capture()
            try:
                made = self._work()
            except BaseException:
                with suppress(cuda.runtime.CUDARuntimeError):
                    queue.end_capture()
                raise
            return queue.end_capture(), made
