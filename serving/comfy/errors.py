"""Errors as ComfyUI's clients read them."""

from __future__ import annotations

from typing import Any

from ...workflow.validate import InvalidWorkflowError
from ..refusals import field_of, kind_of, message_of


def error_document(error: BaseException) -> dict[str, Any]:
    """An error with the node_errors of a workflow that cannot run."""
    if isinstance(error, InvalidWorkflowError):
        return document(error.type, error.short, error.details, error.node_errors)
    return document(kind_of(error), message_of(error), field_of(error) or "")


def document(kind: str, message: str, details: str = "", node_errors: Any = None) -> dict[str, Any]:
    """The shape of ComfyUI's errors."""
    error = {"type": kind, "message": message, "details": details, "extra_info": {}}
    return {"error": error, "node_errors": dict(node_errors or {})}
