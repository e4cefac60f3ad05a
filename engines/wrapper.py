"""An engine around another, which all that it does not change is passed on to."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from ..bundles.profile import Profile
from ..bundles.tensor import Array, TensorSpec
from .base import Engine


class Wrapper:
    """Passes everything on to `engine`; for subclasses that change or watch some of it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def label(self) -> str:
        """What runs the graph."""
        return self.engine.label

    @property
    def device(self) -> str:
        """Where arrays live."""
        return self.engine.device

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the graph takes."""
        return self.engine.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the graph gives."""
        return self.engine.outputs

    @property
    def precision(self) -> str:
        """The arithmetic."""
        return self.engine.precision

    @property
    def profiles(self) -> Sequence[Profile]:
        """The shapes that it is built for."""
        return self.engine.profiles

    @property
    def row_buckets(self) -> tuple[int, ...]:
        """The numbers of rows to which calls are best padded."""
        return self.engine.row_buckets

    @property
    def capture_state(self) -> Hashable | None:
        """What a CUDA graph of its work relies on."""
        return self.engine.capture_state

    @property
    def waits_for_idle(self) -> bool:
        """Whether something is ready that may take over only once nothing is in flight."""
        return self.engine.waits_for_idle

    def poll(self, idle: bool = False) -> None:
        """Let what was built meanwhile take over."""
        self.engine.poll(idle)

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once; raises `EngineError`."""
        return self.engine(feeds)

    def close(self) -> None:
        """Release the graph's memory."""
        self.engine.close()
