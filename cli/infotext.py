"""The option that takes a command's options from A1111's parameters in a file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import Console
from .parser import CommandParser

if TYPE_CHECKING:
    from ..runtime.provenance.infotext import Infotext


class FromInfotext(argparse.Action):
    """Sets the options that a file's infotext asks for; those on the command line, on either side of it, win."""

    def __init__(self, *arguments: Any, const: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.verb = const
        self._parameters: Infotext | None = None

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Read the file, and set what it asks for."""
        from ..errors import InputError
        from ..runtime.provenance.infotext import from_infotext
        from .outputs import source

        assert isinstance(parser, CommandParser)
        given = {name: text for name, text in parser.given.items() if name != self.dest}
        try:
            # A preset has the command line parsed twice, but a pipe is read once.
            self._parameters = infotext = self._parameters or from_infotext(source(Path(values)), self.verb, **given)
        except (InputError, OSError) as exc:
            raise argparse.ArgumentError(self, str(exc)) from exc
        known = {action.dest for action in parser._actions}
        wanted = {name: value for name, value in infotext.options.items() if name not in given}
        for name in wanted.keys() & known:
            setattr(namespace, name, wanted[name])
        parser.usual_prompt = str(infotext.options["prompt"])
        if "prompt" in known:
            notes = (f"{parser.prog} has no option for {name} {wanted[name]}" for name in wanted if name not in known)
            infotext = replace(infotext, notes=(*infotext.notes, *notes))
        setattr(namespace, self.dest, infotext)


def add_infotext(parser: Any, verb: str = "img2img") -> None:
    """Options from A1111's parameters; `verb` is the pipeline's that the command is nearest to."""
    parser.add_argument(
        "--from-infotext",
        action=FromInfotext,
        const=verb,
        metavar="FILE",
        help="take prompt and options from A1111's parameters in a picture or a text file; options that are given win",
    )


def followed(command: Callable[[], int | None], console: Console, infotext: Infotext, model: str) -> int | None:
    """Note what an infotext asks for that is not followed, and another model than its own; then do the work."""
    from ..bundles.manifest import Bundle
    from ..runtime.model.load import find

    other = infotext.unlike(Bundle.read(find(model), verify=False))
    for note in (*infotext.notes, *([other] if other else [])):
        console.note(f"note: infotext: {note}")
    return command()
