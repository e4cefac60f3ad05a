"""Work in units: generators that yield between two parts of it, so that others get their turn in between."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

_Made = TypeVar("_Made")
Units = Generator[None, None, _Made]


def exhaust(units: Units[_Made]) -> _Made:
    """Do all units of a piece of work at once; what comes of it."""
    while True:
        try:
            next(units)
        except StopIteration as end:
            made: _Made = end.value
            return made
