"""Errors as A1111's clients read them."""

from __future__ import annotations

from typing import Any

from ..refusals import kind_of, message_of


def error_document(error: BaseException) -> dict[str, Any]:
    """An error in A1111's shape."""
    message = message_of(error)
    return {"error": kind_of(error), "detail": message, "body": "", "errors": message}
