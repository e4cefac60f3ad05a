"""Work on a GPU recorded once as a CUDA graph, and replayed: the host's part of it is then a single call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ..errors import EngineError
from .arrays import namespace, stream

_Made = TypeVar("_Made")
_recording: list[Any] = []


def recording() -> bool:
    """Whether something is being recorded; only by the thread that asks, as others wait for their turn."""
    return bool(_recording)


def record(work: Callable[[], _Made]) -> tuple[Any, _Made]:
    """Record what `work` queues as a CUDA graph, without running it; gives the graph, and what the work returned."""
    queue = stream()
    queue.begin_capture()
    _recording.append(queue)
    try:
        result = work()
    finally:
        _recording.pop()
        graph = queue.end_capture()
    return graph, result


class Capture(Generic[_Made]):
    """Work that is the same each time: it reads and writes the same arrays, and asks nothing of the device.

    The first call does the work twice, once so that kernels are compiled and memory is there, once to record it; so the
    work must bear being done twice. What the work returns is kept: every call writes those arrays anew.
    """

    def __init__(self, work: Callable[[], _Made]) -> None:
        self._work = work
        self._recorded: tuple[Any, _Made] | None = None
        # Its own, so that nothing else is ever given the memory that the graph writes to.
        self._pool = namespace("cuda").cuda.MemoryPool()

    def __call__(self) -> _Made:
        """Queue the work, and give what it returned; under the `device_lock`.

        Raises `EngineError` where the work cannot be recorded, and what it raises itself.
        """
        if self._recorded is None:
            self._recorded = self._record()
        graph, result = self._recorded
        graph.launch(stream())
        return result

    def _record(self) -> tuple[Any, _Made]:
        cuda = namespace("cuda").cuda
        try:
            with cuda.using_allocator(self._pool.malloc):
                self._work()
                return record(self._work)
        except cuda.runtime.CUDARuntimeError as exc:
            raise EngineError(f"the GPU's work cannot be recorded: {exc}") from exc
