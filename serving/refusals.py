"""Errors as clients see them: a status of HTTP, a word for programs, the message and the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import (
    CancelledError,
    ClosedError,
    EngineError,
    EngineHungError,
    InputError,
    ModelOutputError,
    OutOfMemoryError,
    OverpaintError,
    RefusedError,
    RunTimeoutError,
)

ErrorDocument = Callable[[BaseException], dict[str, Any]]
"""An error as JSON, in the shape of an interface."""

MAX_MESSAGE = 1000
"""Characters of a message that are sent; it may quote what came."""

RETRY_RESULT = 1.0
"""Seconds after which to ask again for a result."""

_KINDS: Mapping[type[Exception], tuple[int, str]] = {
    ClosedError: (503, "draining"),
    InputError: (400, "invalid_input"),
    RunTimeoutError: (504, "timeout"),
    CancelledError: (409, "cancelled"),
    OutOfMemoryError: (503, "out_of_memory"),
    ModelOutputError: (500, "model_output"),
    EngineHungError: (503, "engine_hung"),
    EngineError: (500, "engine"),
    OverpaintError: (500, "server"),
}
"""The first that an error is one of."""


def status_of(error: BaseException) -> int:
    """The status of HTTP for an error."""
    return error.status if isinstance(error, RefusedError) else _known(error)[0]


def kind_of(error: BaseException) -> str:
    """The word for an error."""
    return error.kind if isinstance(error, RefusedError) else _known(error)[1]


def error_document(error: BaseException) -> dict[str, Any]:
    """An error as JSON has it; the message of one that is a fault of this program stays in the log."""
    return {"error": {"message": message_of(error), "type": kind_of(error), "field": field_of(error)}}


def message_of(error: BaseException) -> str:
    """What is said of an error."""
    return _plain(str(error) if isinstance(error, OverpaintError) else "the server failed; its log has the cause")


def field_of(error: BaseException) -> str | None:
    """The option at fault, where one is."""
    field = error.field if isinstance(error, InputError) else None
    return field and _plain(field)


def _plain(text: str) -> str:
    """A text that may quote anything that was sent, as JSON can carry it."""
    cut = text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]} ..."
    return cut.encode("utf-8", "backslashreplace").decode()


def _known(error: BaseException) -> tuple[int, str]:
    return next((found for kind, found in _KINDS.items() if isinstance(error, kind)), (500, "server"))
