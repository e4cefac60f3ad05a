"""Checks of single values; each says what was wrong, and with what."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from ...errors import InputError, unknown
from ..imaging.picture import MAX_SIDE


def number(name: str, value: Any, least: float, most: float) -> None:
    """Raise `InputError` for what is no number from `least` to `most`."""
    # Written so that NaN fails too.
    if isinstance(value, bool) or not isinstance(value, Real) or not least <= float(value) <= most:
        raise InputError(f"{name} must be a number from {least} to {most}, not {value!r}")


def whole(name: str, value: Any, least: int, most: int, unit: str = "") -> None:
    """Raise `InputError` for what is no whole number from `least` to `most`; `unit` says of what, as " of pixels"."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
        raise InputError(f"{name} must be a whole number{unit} from {least} to {most}, not {value!r}")


def pixels(lengths: Mapping[str, Any], least: int = 0) -> None:
    """Raise `InputError` for a length that is no whole number of pixels; by what it is called."""
    for name, value in lengths.items():
        whole(name, value, least, MAX_SIDE, " of pixels")


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
