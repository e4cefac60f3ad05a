"""An engine that is opened when it is first run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..bundles.graph import Graph
from ..bundles.profile import Profile
from ..bundles.tensor import Array
from .base import BaseEngine, Engine


class LazyEngine(BaseEngine):
    """The engine that `open` gives, for a graph that most work does without; `device` is where its arrays will live."""

    def __init__(self, graph: Graph, device: str, open: Callable[[], Engine]) -> None:
        self.inputs = graph.inputs
        self.outputs = graph.outputs
        self.device = device
        self._open = open
        self._engine: Engine | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has been run, or asked for what it can."""
        return self._engine is not None

    @property
    def engine(self) -> Engine:
        """The engine, opened now if it was not; raises as opening it does."""
        if self._engine is None:
            self._engine = self._open()
        return self._engine

    @property
    def label(self) -> str:
        """What runs the graph."""
        return self._engine.label if self._engine else "not opened"

    @property
    def precision(self) -> str:  # type: ignore[override]
        """The arithmetic."""
        return self.engine.precision

    @property
    def profiles(self) -> Sequence[Profile]:  # type: ignore[override]
        """The shapes that it is built for."""
        return self.engine.profiles

    @property
    def row_buckets(self) -> tuple[int, ...]:  # type: ignore[override]
        """The numbers of rows to which calls are best padded."""
        return self.engine.row_buckets

    @property
    def waits_for_idle(self) -> bool:  # type: ignore[override]
        """Whether something is ready that may take over only once nothing is in flight."""
        return self._engine is not None and self._engine.waits_for_idle

    def poll(self, idle: bool = False) -> None:
        """Let what was built meanwhile take over."""
        if self._engine is not None:
            self._engine.poll(idle)

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once; raises `EngineError`."""
        return self.engine(feeds)

    def close(self) -> None:
        """Release the graph's memory, where it has any."""
        if self._engine is not None:
            self._engine.close()
