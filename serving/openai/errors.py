"""Errors as OpenAI's clients read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..refusals import field_of, kind_of, message_of, status_of

INVALID = "invalid_request_error"
_NAMES: Mapping[str, tuple[str, str]] = {
    "busy": ("rate_limit_error", "rate_limit_exceeded"),
    "unauthorized": (INVALID, "invalid_api_key"),
    "invalid_input": (INVALID, "invalid_value"),
}
"""The type and the code of the kinds of errors that have names of their own there."""


def error_document(error: BaseException) -> dict[str, Any]:
    """An error in OpenAI's shape; where it has no code for it, the code is this server's word."""
    kind = kind_of(error)
    type_, code = _NAMES.get(kind, ("server_error" if status_of(error) >= 500 else INVALID, kind))
    return {"error": {"message": message_of(error), "type": type_, "param": field_of(error), "code": code}}
