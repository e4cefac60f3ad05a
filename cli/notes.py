"""What the package logs, and what libraries warn of, as notes on the terminal."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from .console import Console

VARIABLE = "OVERPAINT_LOG"
LEVELS = ("debug", "info", "warning", "error")
PACKAGE = __name__.partition(".")[0]


class Notes(logging.Handler):
    """Prints records on a console: warnings as notes, others under the name of their level."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        kind = "note" if record.levelno == logging.WARNING else record.levelname.lower()
        self._console.note(f"{kind}: {record.getMessage()}")


@contextmanager
def notes(console: Console) -> Iterator[None]:
    """Print what is logged from the level on that `OVERPAINT_LOG` names (warning), and every warning.

    Raises `InputError` for another level.
    """
    logger, handler = logging.getLogger(PACKAGE), Notes(console)
    before = logger.level
    logger.setLevel(_level())
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: console.note(f"note: {message}")
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _level() -> int:
    from ..errors import unknown

    name = os.environ.get(VARIABLE, "").lower() or "warning"
    if name not in LEVELS:
        raise unknown(f"level in {VARIABLE}", name, LEVELS)
    return int(getattr(logging, name.upper()))
