"""Options of tools: which are whose, and what they may be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from numbers import Integral
from typing import Any

from ...engines.base import InputError, unknown
from ..imaging.codec import MAX_SIDE


def split(kind: type[Any], options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options that are fields of a dataclass and are given, and the rest."""
    names = {field.name for field in fields(kind)}
    own = {name: value for name, value in options.items() if name in names and value is not None}
    return own, {name: value for name, value in options.items() if name not in names}


def check_choices(choices: Mapping[str, tuple[Any, Collection[str]]]) -> None:
    """Raise `InputError` for a value that is not among those known; (value, known) by what it is called."""
    for kind, (value, known) in choices.items():
        if not isinstance(value, str) or value not in known:
            raise unknown(kind, str(value), known)


def check_pixels(lengths: Mapping[str, Any], least: int = 0) -> None:
    """Raise `InputError` for a length that is no whole number of pixels; by what it is called."""
    for name, value in lengths.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= MAX_SIDE:
            raise InputError(f"{name} must be a whole number of pixels from {least} to {MAX_SIDE}, not {value!r}")
