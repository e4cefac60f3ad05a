"""The command that prints a script by which a shell completes the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..common import extra
from ..parser import CommandParser, Parser

SHELLS = ("bash", "zsh", "tcsh")
# Words that name files, though they are texts until the prompt is told from them.
_FILES = ("images",)


def add(commands: Any, root: Parser) -> None:
    """Add the command to the parser's, `root`."""

    def completion(shell: str) -> None:
        """Print a script by which a shell completes commands, options, names and files; have it read by the shell."""
        with extra("completion"):
            import shtab
        _describe(commands.choices, shtab.FILE)
        print(shtab.complete(root, shell))

    parser = commands.add_parser(
        "completion", help="print a script for the shell's completion", description=completion.__doc__
    )
    parser.set_defaults(command=completion)
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=f"{', '.join(SHELLS[:-1])} or {SHELLS[-1]}")


def _describe(parsers: Mapping[str, CommandParser], files: Mapping[str, str]) -> None:
    """Say which arguments are files, and which are names of a table."""
    for parser in parsers.values():
        names = {title.removesuffix("s"): listed for title, listed in parser.lists.items()}
        for action in parser._actions:
            if action.type is Path or action.dest in _FILES:
                action.complete = files  # type: ignore[attr-defined]
            elif action.dest in names:
                action.choices = list(names[action.dest]())
