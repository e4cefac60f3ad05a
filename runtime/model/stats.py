"""What a run took: seconds by stage, and encodings that were not computed again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ...bundles.tensor import Array
from ..units import Units

_Made = TypeVar("_Made")
STAGES = ("text", "encode", "denoise", "decode")


class RunStats:
    """`timings` are seconds by stage, `cached` counts encodings that came from a cache; `encodings` are all of them by
    their component, which on a device nobody has looked at yet."""

    def __init__(self) -> None:
        self.encodings: list[tuple[str, Array]] = []
        self.timings = dict.fromkeys(STAGES, 0.0)
        self.cached = {"text": 0, "encode": 0}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens within to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings[name] += time.perf_counter() - start

    def timed(self, name: str, units: Units[_Made]) -> Units[_Made]:
        """Do units of a stage and count their time, but not what happens in between."""
        while True:
            try:
                with self.stage(name):
                    next(units)
            except StopIteration as end:
                made: _Made = end.value
                return made
            yield


def total(stats: Iterable[RunStats]) -> RunStats:
    """Several together."""
    made = RunStats()
    for each in stats:
        made.encodings += each.encodings
        for stage, seconds in each.timings.items():
            made.timings[stage] += seconds
        for stage, count in each.cached.items():
            made.cached[stage] += count
    return made
