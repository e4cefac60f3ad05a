"""Options of tools: which are whose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..requests.expand import APART, REQUEST, check_names
from ..requests.options import offered


def split(tool: str, kind: type[Any], options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A tool's options that are fields of its dataclass and are given, and the rest, a request's.

    Raises `InputError` for one that is neither's, with the nearest names.
    """
    names = {field.name for field in fields(kind)}
    check_names(options, names | REQUEST - set(APART), offered(tool))
    own = {name: value for name, value in options.items() if name in names and value is not None}
    return own, {name: value for name, value in options.items() if name not in names}
