"""Every error that this package raises on purpose.

::

    OverpaintError
    ├── InputError (ValueError)             a request, picture or option that cannot be used; `field` names the option
    │   ├── NoBundleError   ─ also BundleError   a path that was named as a bundle and is none
    │   ├── NoEngineError   ─ also EngineError   an engine or a device that was named and cannot run here
    │   ├── NoPlaceError    ─ also OutputError   a path for a result that is a folder, or in a folder that is missing
    │   └── ClosedError                          a ticket, run or call after `close()`
    ├── BundleError                         a bundle that is missing, altered, newer, or does not fit together
    ├── EngineError                         a backend is missing, refused a graph, or failed while it ran one
    │   ├── ModelOutputError                a graph returned NaN or infinity
    │   ├── OutOfMemoryError                the memory of the device or the host does not suffice for a call
    │   └── EngineHungError                 a call does not return, and the process that waits for it has to end
    ├── OutputError (OSError)               a result cannot be written where it was to go
    ├── CancelledError                      the work was cancelled, so that it has no result
    ├── RunTimeoutError (TimeoutError)      the work took longer than its timeout or its deadline
    ├── RefusedError                        a service does not take a call: it is full, draining, or knows no such job
    └── ExportError                         a checkpoint cannot be turned into a bundle
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OverpaintError(Exception):
    """The root of every error this package raises on purpose."""


class InputError(OverpaintError, ValueError):
    """A request, picture or option that cannot be used; the message names the cause and what to do.

    `field` is the name of the option at fault where it is one, such as "strength"; a server tells it to its clients.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class BundleError(OverpaintError):
    """A bundle that is missing, altered, newer than this package, or whose graphs do not fit."""


class EngineError(OverpaintError):
    """A backend is missing, refused a graph, or failed while running one."""


class ModelOutputError(EngineError):
    """A graph returned NaN or infinity; the message names the component and the step."""


class OutOfMemoryError(EngineError):
    """The memory of the device or the host does not suffice for a call; fewer rows or a smaller size may fit."""


class EngineHungError(EngineError):
    """An engine's call does not return; nothing can end it but the end of its process."""


class OutputError(OverpaintError, OSError):
    """A result cannot be written where it was to go."""


class NoBundleError(BundleError, InputError):
    """A path that was named as a bundle and is none."""


class NoEngineError(EngineError, InputError):
    """An engine or a device that was named and cannot run here."""


class NoPlaceError(OutputError, InputError):
    """A path that was named for a result and is a folder, or lies in a folder that is missing."""


class ClosedError(InputError):
    """Something was submitted to a model or scheduler that is closed."""


class CancelledError(OverpaintError):
    """The work was cancelled, so that it has no result."""


class RunTimeoutError(OverpaintError, TimeoutError):
    """The work took longer than its timeout or its deadline, and was stopped between two evaluations."""


class RefusedError(OverpaintError):
    """A service does not take a call.

    `status` is that of HTTP, `kind` a word for programs, such as "busy"; after `retry_after` seconds, where that is
    given, the same call may be taken.
    """

    def __init__(self, message: str, status: int, kind: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.retry_after = status, kind, retry_after


class ExportError(OverpaintError):
    """A checkpoint cannot be turned into a bundle."""


def counted(count: int, noun: str, several: str | None = None) -> str:
    """A count with its noun, as messages have it: "1 step", "2 steps"; `several` is a plural of its own."""
    return f"{count} {noun if count == 1 else several or f'{noun}s'}"


def unknown(
    kind: str, name: str, known: Iterable[str], field: str | None = None, otherwise: str | None = None
) -> InputError:
    """An `InputError` for a name that is not in `known`, with the nearest names first, and what can be done instead."""
    names = sorted(known)
    near = nearest(name.lower(), names)
    advice = near or f"choose one of: {', '.join(names)}"
    if otherwise:
        advice += f" Or {otherwise}" if near else f"; or {otherwise}"
    return InputError(f"unknown {kind} {name!r}; {advice}", field)


def nearest(name: str, known: Iterable[str]) -> str:
    """The question whether the names nearest to `name` are meant; empty where none is near."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""
