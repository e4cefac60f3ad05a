"""A line for each call and each job that has ended, as words or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

KINDS = ("none", "text", "json")

_log = logging.getLogger(f"{__name__}.lines")
_log.propagate = False  # nobody's notes


def line(event: str, fields: Mapping[str, Any]) -> None:
    """Write a line of an event, "call" or "job"; nothing where no lines are written."""
    if _log.handlers:
        _log.info(event, extra={"fields": fields})


def write_lines(kind: str, stream: TextIO | None = None) -> None:
    """Write lines from now on, of a kind of `KINDS`, to a stream (standard error)."""
    _log.handlers.clear()
    if kind != "none":
        handler = logging.StreamHandler(stream or sys.stderr)
        handler.setFormatter(_Lines(kind == "json"))
        _log.addHandler(handler)
        _log.setLevel(logging.INFO)


class _Lines(logging.Formatter):
    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {"time": time, "event": record.getMessage(), **getattr(record, "fields", {})}
        if self._as_json:
            return json.dumps(fields)
        return " ".join(
            str(value) if name in ("time", "event") else f"{name}={value}" for name, value in fields.items()
        )
