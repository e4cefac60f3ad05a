"""Results written into files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .console import Console
from .outputs import put

if TYPE_CHECKING:
    from ..runtime.requests.result import Output


def save(console: Console, path: Path, made: Output, quality: int, strip: bool) -> None:
    """Write a result, and have the console say where, with which seed, and what there is to know."""
    notes = put(path, made.image, made.parameters, record=made.record, quality=quality, strip=strip)
    console.saved(path, made, notes)
