"""What is seen of a model while it works: passes, rows of calls, and the first step of every job."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from overpaint.bundles.tensor import Array
from overpaint.engines.base import Engine
from overpaint.engines.wrapper import Wrapper
from overpaint.runtime.model.model import Model
from overpaint.runtime.model.tickets import Event


@dataclass(frozen=True)
class Cost:
    """Seconds of an engine's call: those of its first row, and of each that comes on top."""

    first: float
    more: float

    def __call__(self, rows: int) -> float:
        return self.first + self.more * (rows - 1)


class Costly(Wrapper):
    """An engine whose calls take what another device would need, if it is not slower by itself.

    A sleep that ends late, as it does on a busy machine, is taken off the next one, so that many short calls pay no
    more for it than a few long ones.
    """

    def __init__(self, engine: Engine, cost: Cost) -> None:
        super().__init__(engine)
        self._cost = cost
        self._late = 0.0

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        until = time.perf_counter() + self._cost(len(feeds[self.inputs[0].name])) - self._late
        outputs = super().__call__(feeds)
        while (left := until - time.perf_counter()) > 0:
            time.sleep(left)
        self._late = -left
        return outputs


class Seen(Wrapper):
    """Tells a meter of the calls of the denoiser."""

    def __init__(self, engine: Engine, meter: Meter) -> None:
        super().__init__(engine)
        self._meter = meter

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self._meter.call(len(feeds[self.inputs[0].name]))
        return super().__call__(feeds)


class Meter:
    """Counts a model's passes, and knows when each job, by its seed, took its first step.

    `begun` is how many passes have begun; what came before the next is not late if it takes part in that.
    """

    def __init__(self, model: Model) -> None:
        self.begun = 0
        self.rows: list[int] = []
        self.first: dict[int, tuple[int, float]] = {}
        """By seeds, which pass was a job's first, counted from 0, and when it was over."""
        self._inside = False
        model.stages.denoiser.engine = Seen(model.stages.denoiser.engine, self)
        self._step = model.scheduler.step
        model.scheduler.step = self.step  # type: ignore[method-assign]

    def clear(self) -> None:
        """Count anew."""
        self.begun = 0
        self.rows.clear()
        self.first.clear()

    def call(self, rows: int) -> None:
        """The denoiser is called with so many rows."""
        self.rows.append(rows)
        self.begun += not self._inside
        self._inside = True

    def step(self) -> list[Event]:
        """A step of the scheduler."""
        events = self._step()
        self._inside, now = False, time.perf_counter()
        for event in events:
            if event.step is not None:
                work: Any = event.ticket.work
                self.first.setdefault(work.prepared.request.seed, (self.begun - 1, now))
        return events
