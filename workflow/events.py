"""What a workflow tells while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Started:
    """The workflow begins; the nodes of `cached` have their results from before."""

    cached: tuple[str, ...]


@dataclass(frozen=True)
class NodeStarted:
    """A node is at work."""

    node: str


@dataclass(frozen=True)
class Progress:
    """A node has done `value` of `most` parts of its work, such as evaluations of the model."""

    node: str
    value: int
    most: int


@dataclass(frozen=True)
class Preview:
    """A picture on its way; it is decoded when `picture` is called, in the listener's thread, before it returns."""

    node: str
    picture: Callable[[], Image.Image] = field(repr=False)


@dataclass(frozen=True)
class NodeDone:
    """A node has its results; `shown` is what an editor shows of a sink, None of other nodes."""

    node: str
    shown: Mapping[str, Any] | None = None
    cached: bool = False


@dataclass(frozen=True)
class Sent:
    """A picture that a node sends to whoever listens, such as SaveImageWebsocket's, uint8 [height, width, 3]."""

    node: str
    picture: Image.Image = field(repr=False)


@dataclass(frozen=True)
class Failed:
    """A node failed, and with it the workflow; `inputs` are those it had, as texts."""

    node: str
    kind: str
    error: Exception
    inputs: Mapping[str, Any]
    executed: tuple[str, ...]


@dataclass(frozen=True)
class Interrupted:
    """The workflow was cancelled, at this node."""

    node: str
    kind: str
    executed: tuple[str, ...]


@dataclass(frozen=True)
class Finished:
    """All sinks have what they were run for."""


Event = Started | NodeStarted | Progress | Preview | NodeDone | Sent | Failed | Interrupted | Finished
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A listener that does nothing."""
