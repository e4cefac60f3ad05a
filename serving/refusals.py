"""Errors as clients see them: a status of HTTP, a word for programs, the message and the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import (
    CancelledError,
    ClosedError,
    EngineError,
    InputError,
    ModelOutputError,
    OutOfMemoryError,
    OverpaintError,
    RefusedError,
    RunTimeoutError,
)

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
    known = isinstance(error, OverpaintError)
    message = str(error) if known else "the server failed; its log has the cause"
    field = error.field if isinstance(error, InputError) else None
    return {"error": {"message": _plain(message), "type": kind_of(error), "field": field and _plain(field)}}


def _plain(text: str) -> str:
    """A text that may quote anything that was sent, as JSON can carry it."""
    cut = text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]} ..."
    return cut.encode("utf-8", "backslashreplace").decode()


def _known(error: BaseException) -> tuple[int, str]:
    return next((found for kind, found in _KINDS.items() if isinstance(error, kind)), (500, "server"))
