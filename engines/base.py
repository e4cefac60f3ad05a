"""The seam between the runtime and whatever executes a graph: the engine's protocol and base class, and its checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..bundles.profile import Profile
from ..bundles.tensor import Array, TensorSpec
from ..errors import BundleError, EngineError, InputError

# To which numbers of rows calls are padded where a graph is kept for each shape, so that these stay few.
ROW_BUCKETS = (1, 2, 4, 8, 12, 16)


class Engine(Protocol):
    """One compiled graph, ready to run.

    A backend has to bring `label`, `device`, `inputs`, `outputs`, `__call__` and `close`; the rest are capabilities,
    which `BaseEngine` says it lacks.
    """

    @property
    def label(self) -> str:
        """What runs the graph, for people: the library, the device, the precision."""
        ...

    @property
    def device(self) -> str:
        """Where its arrays live: "cpu" for numpy's, "cuda" for CuPy's."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the graph takes."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the graph gives."""
        ...

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once on arrays of its device by input name; raises `EngineError`.

        What it returns is the caller's. On a GPU the work is queued on CuPy's current stream, not waited for.
        """
        ...

    def close(self) -> None:
        """Release the graph's memory; the engine cannot run afterwards."""
        ...

    @property
    def precision(self) -> str:
        """The arithmetic, such as "float16"; an engine of the same may take over in the midst of a picture."""
        ...

    @property
    def profiles(self) -> Sequence[Profile]:
        """The shapes that it is built for; none: all that the graph takes."""
        ...

    @property
    def row_buckets(self) -> tuple[int, ...]:
        """The numbers of rows to which calls are best padded, rising; none: padding costs what it adds.

        A call need not be padded beyond what `profiles` hold.
        """
        ...

    @property
    def capture_state(self) -> Hashable | None:
        """What a CUDA graph of the engine's work relies on: while this is equal to what it was, the graph may be
        replayed. None where the work cannot be captured."""
        ...

    @property
    def waits_for_idle(self) -> bool:
        """Whether something is ready that may take over only once nothing is in flight."""
        ...

    def poll(self, idle: bool = False) -> None:
        """Let what was built meanwhile take over; the one owner of the device calls it between two calls.

        `idle` says that no picture is in flight: only then may the rounding change.
        """
        ...


class BaseEngine(ABC):
    """The base of engines: a subclass brings what every backend needs, and those capabilities that it has."""

    device: str = "cpu"
    precision: str = ""
    profiles: Sequence[Profile] = ()
    row_buckets: tuple[int, ...] = ()
    waits_for_idle: bool = False

    @abstractmethod
    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once on arrays of its device by input name; raises `EngineError`."""

    @abstractmethod
    def close(self) -> None:
        """Release the graph's memory; the engine cannot run afterwards."""

    @property
    def capture_state(self) -> Hashable | None:
        """None: the work cannot be captured."""
        return None

    def poll(self, idle: bool = False) -> None:  # noqa: B027
        """Nothing takes over."""


def check_feeds(name: str, specs: Iterable[TensorSpec], feeds: Mapping[str, Array]) -> None:
    """Raise `EngineError` where `feeds` are not exactly the inputs that the graph `name` takes."""
    wanted = {spec.name: spec for spec in specs}
    if missing := wanted.keys() - feeds.keys():
        raise EngineError(f"{name}: no value for {', '.join(sorted(missing))}")
    if extra := feeds.keys() - wanted.keys():
        raise EngineError(f"{name}: takes no input called {', '.join(sorted(extra))}")
    for key, spec in wanted.items():
        if reason := spec.mismatch(feeds[key]):
            raise EngineError(f"{name}: {reason}")


def check_precision(engine: str, name: str, precision: str, wanted: str | None) -> None:
    """Raise `InputError` where another precision is `wanted` of an engine that computes a graph as it was exported."""
    if wanted not in (None, precision):
        raise InputError(
            f"{engine} computes {name} in {precision}, as it was exported; leave out the precision, or export "
            f"with precision {wanted}"
        )


def check_signature(
    path: Path, side: str, specs: Iterable[TensorSpec], tensors: Iterable[tuple[str, str, Any]]
) -> None:
    """Raise `BundleError` where the tensors of a file are not the manifest's.

    `tensors` are each one's name, its dtype, and its axes with a text for each dynamic one; `side` is for the message.
    """
    wanted = sorted(str(TensorSpec(spec.name, spec.dtype, _fixed(spec.axes))) for spec in specs)
    actual = sorted(str(TensorSpec(name, dtype, _fixed(axes))) for name, dtype, axes in tensors)
    if wanted != actual:
        raise BundleError(
            f"{path}: the graph's {side} are ({'; '.join(actual)}), "
            f"the manifest says ({'; '.join(wanted)}); export again"
        )


def _fixed(axes: Iterable[Any]) -> tuple[int | str, ...]:
    """The axes with every dynamic one under the same name."""
    return tuple(axis if isinstance(axis, int) else "?" for axis in axes)
