"""Checks of single values by their rows in the options table; each says what was wrong, and with what."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np

from ...errors import InputError, unknown
from ..imaging.fill import check_colour
from ..imaging.limits import MAX_SIDE
from ..sampling.names import find_sampler, find_schedule
from ..sampling.noise import drawn
from .defaults import Times
from .option import Option

_LABELS = {"sampler": find_sampler, "schedule": find_schedule}


def check(given: Any, known: Mapping[str, Option]) -> None:
    """Raise `InputError` for the first field of a frozen dataclass that its row refuses; draw seeds of -1."""
    for name, row in known.items():
        value = getattr(given, name, row.default)
        if value is not row.default and (used := option(row, value)) is not value:
            object.__setattr__(given, name, used)


def option(row: Option, value: Any) -> Any:
    """The value to use of an option, a list as a tuple.

    Raises `InputError`, with the option's name, for one that cannot be used.
    """
    if (value is None and row.default is None) or (row.own and isinstance(value, Times)):
        return value
    with of(row.name):
        return drawn(value) if row.kind == "seed" else _checked(row, value)


@contextmanager
def of(name: str) -> Iterator[None]:
    """Give an `InputError` from within the name of the option at fault."""
    try:
        yield
    except InputError as exc:
        exc.field = name
        raise


def _checked(row: Option, value: Any) -> Any:
    if isinstance(value, list):
        value = tuple(value)  # as JSON has them
    match row.kind:
        case "number":
            number(row.title, value, row.least, row.most)
        case "whole":
            whole(row.title, value, int(row.least), int(row.most), row.unit)
        case "name":
            choice(row.title, value, tuple(row.choices))
        case "label":
            _LABELS[row.name](value)
        case "text":
            text(row.title, value)
        case "flag":
            flag(row.title, value)
        case "size":
            size(value, row.title)
        case "numbers":
            for each in several(row.name, value):
                number(row.title, each, row.least, row.most)
        case "texts":
            for each in several(row.name, value):
                text(row.title, each)
        case "blur":
            blur(row.title, value, row.least, row.most)
        case "colour":
            check_colour(value)
    return value


def number(name: str, value: Any, least: float, most: float) -> None:
    """Raise `InputError` for what is no number from `least` to `most`."""
    # Written so that NaN fails too.
    if isinstance(value, bool) or not isinstance(value, Real) or not least <= float(value) <= most:
        raise InputError(f"{name} must be a number from {least} to {most}, not {value!r}")


def whole(name: str, value: Any, least: int, most: int, unit: str = "") -> None:
    """Raise `InputError` for what is no whole number from `least` to `most`; `unit` says of what, as " of pixels"."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
        raise InputError(f"{name} must be a whole number{unit} from {least} to {most}, not {value!r}")


def flag(name: str, value: Any) -> None:
    """Raise `InputError` for what is neither true nor false."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} must be True or False, not {value!r}")


def several(name: str, value: Any) -> tuple[Any, ...]:
    """The value; raises `InputError` for what is no tuple."""
    if not isinstance(value, tuple):
        raise InputError(f"{name} must be a tuple or a list, not {value!r}")
    return value


def blur(name: str, value: Any, least: float, most: float) -> None:
    """Raise `InputError` for what is no number of pixels from `least` to `most`, nor two, for x and for y."""
    widths: tuple[Any, ...] = value if isinstance(value, tuple) else (value, value)
    if len(widths) != 2 or not all(isinstance(width, Real) and least <= float(width) <= most for width in widths):
        raise InputError(f"{name} is {least:g} to {most:g} pixels, or that for x and y, not {value!r}")


def choice(kind: str, value: Any, known: Collection[str]) -> None:
    """Raise `InputError` for a value that is not among those known."""
    if not isinstance(value, str) or value not in known:
        raise unknown(kind, str(value), known)


def text(name: str, value: Any) -> None:
    """Raise `InputError` for what is no text, or none in Unicode."""
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise InputError(f"{name} has characters that are no Unicode ({exc.reason}); give it as UTF-8") from exc


def mask(name: str, value: Any) -> None:
    """Raise `InputError` for what is no array uint8 [height, width]."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim != 2:
        found = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
        raise InputError(f"{name} must be uint8 [height, width], not {found}")


def size(value: Any, name: str = "size") -> tuple[int, int] | None:
    """A (width, height) in pixels or None; raises `InputError` for anything else."""
    if value is None:
        return None
    if not isinstance(value, tuple) or len(value) != 2:
        raise InputError(f"{name} must be (width, height) in pixels, not {value!r}")
    for side, length in zip(("width", "height"), value, strict=True):
        whole(side if name == "size" else f"{name}'s {side}", length, 1, MAX_SIDE)
    return value
