"""The command that shows what the package does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..common import (
    add_overwrite,
)


def demo(output: Path, overwrite: bool) -> None:
    """Repaint a picture and draw the contact sheet."""
    from ...runtime.diagnostics.demo import FILES
    from ...runtime.diagnostics.demo import demo as run
    from ..outputs import check_free

    for name in () if overwrite else FILES:
        check_free(output / name)
    for line in run(output):
        print(line, flush=True)


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("demo", help="repaint a picture and draw a contact sheet", description=demo.__doc__)
    parser.add_argument(
        "-o", "--out", dest="output", type=Path, default=Path("out"), help="folder for the pictures (out)"
    )
    add_overwrite(parser)
    parser.set_defaults(command=demo)
