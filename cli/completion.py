"""The command that prints a script by which a shell completes the others."""

from __future__ import annotations

from typing import Any

from .common import extra
from .parser import Parser

SHELLS = ("bash", "zsh", "tcsh")


def add(commands: Any, root: Parser) -> None:
    """Add this file's command to the parser's, `root`."""

    def completion(shell: str) -> None:
        """Print a script by which a shell completes commands and options; have the shell read it when it starts."""
        with extra("completion"):
            import shtab
        print(shtab.complete(root, shell))

    parser = commands.add_parser(
        "completion", help="print a script for the shell's completion", description=completion.__doc__
    )
    parser.set_defaults(command=completion)
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=f"{', '.join(SHELLS[:-1])} or {SHELLS[-1]}")
