"""The seam between the runtime and whatever executes a graph: tensors' specifications, the engine protocol, errors."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .profile import Profile

Array = NDArray[Any]


class OverpaintError(Exception):
    """The root of every error this package raises on purpose."""


class InputError(OverpaintError, ValueError):
    """A request, picture or parameter that cannot be used; the message names the cause and the mend."""


class BundleError(OverpaintError):
    """A bundle that is missing, altered, newer than this package, or whose graphs do not fit."""


class EngineError(OverpaintError):
    """A backend is missing, refused a graph, or failed while running one."""


class ModelOutputError(EngineError):
    """A graph returned NaN or infinity; the message names the component and the step."""


class OutputError(OverpaintError, OSError):
    """A result cannot be written where it was asked for."""


class NoBundleError(BundleError, InputError):
    """A path that was named as a bundle and is none."""


class NoEngineError(EngineError, InputError):
    """An engine or a device that was named and cannot run here."""


class NoPlaceError(OutputError, InputError):
    """A path that was named for a result and is a folder, or lies in a folder that is missing."""


class CancelledError(OverpaintError):
    """A run was cancelled, so that it has no result."""


class RunTimeoutError(OverpaintError, TimeoutError):
    """A run took longer than its `timeout`, and was stopped between two evaluations."""


class ExportError(OverpaintError):
    """A checkpoint cannot be turned into a bundle."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An `InputError` for a name that is not in `known`, with the nearest names first."""
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    mend = f"did you mean {' or '.join(map(repr, near))}?" if near else f"choose one of: {', '.join(names)}"
    return InputError(f"unknown {kind} {name!r}; {mend}")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph. An axis is a fixed length, or the name of a dynamic one."""

    name: str
    dtype: str
    axes: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} [{', '.join(map(str, self.axes))}]"

    def mismatch(self, array: Array) -> str | None:
        """Say why `array` cannot be this tensor, or None where it can."""
        if array.dtype != np.dtype(self.dtype):
            return f"{self.name} is {array.dtype}, the graph takes {self.dtype}"
        lengths = [pair for pair in zip(self.axes, array.shape, strict=False) if isinstance(pair[0], int)]
        if array.ndim != len(self.axes) or any(wanted != length for wanted, length in lengths):
            return f"{self.name} has shape {list(array.shape)}, the graph takes [{', '.join(map(str, self.axes))}]"
        return None


class Engine(Protocol):
    """One compiled graph, ready to run."""

    @property
    def label(self) -> str:
        """What runs the graph, for people: the library, the device, the precision."""
        ...

    @property
    def device(self) -> str:
        """Where its arrays live: "cpu" for numpy's, "cuda" for CuPy's."""
        ...

    @property
    def profiles(self) -> Sequence[Profile]:
        """The shapes that it is built for; none: all that the graph takes."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the graph takes."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the graph gives."""
        ...

    @property
    def capture_state(self) -> Hashable | None:
        """What a CUDA graph of the engine's work relies on: while this is equal to what it was, the graph may be
        replayed. None where the work cannot be captured."""
        ...

    def begin_run(self) -> None:
        """A run begins: what was built meanwhile may take over now, where no other run goes on."""
        ...

    def end_run(self) -> None:
        """A run that began is over, however it ended."""
        ...

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once on arrays of its device by input name; raises `EngineError`.

        What it returns is the caller's. On a GPU the work is queued on CuPy's current stream, not waited for.
        """
        ...

    def close(self) -> None:
        """Release the graph's memory; the engine cannot run afterwards."""
        ...


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


def check_precision(engine: str, name: str, precision: str, asked: str | None) -> None:
    """Raise `InputError` where another precision is asked of an engine that computes a graph as it was exported."""
    if asked not in (None, precision):
        raise InputError(
            f"{engine} computes {name} in {precision}, as it was exported; leave out the precision, or export "
            f"with precision {asked}"
        )


def check_signature(path: Path, side: str, specs: Iterable[TensorSpec], found: Iterable[tuple[str, str, Any]]) -> None:
    """Raise `BundleError` where the tensors of a file are not the manifest's.

    `found` gives a tensor's name, its dtype, and its axes with a text for each dynamic one; `side` is for the message.
    """
    wanted = sorted(str(TensorSpec(spec.name, spec.dtype, _fixed(spec.axes))) for spec in specs)
    actual = sorted(str(TensorSpec(name, dtype, _fixed(axes))) for name, dtype, axes in found)
    if wanted != actual:
        raise BundleError(
            f"{path}: the graph's {side} are ({'; '.join(actual)}), "
            f"the manifest says ({'; '.join(wanted)}); export again"
        )


def _fixed(axes: Iterable[Any]) -> tuple[int | str, ...]:
    """The axes with every dynamic one under the same name."""
    return tuple(axis if isinstance(axis, int) else "?" for axis in axes)
