"""The command that paints what is around a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import add_options
from ..common import (
    add_output,
    add_preset,
)
from ..infotext import add_infotext
from ..prompts import add_prompt

if TYPE_CHECKING:
    pass
from ..editing import add_editing, edit


def outpaint(image: Path, prompt: str, output: Path, overwrite: bool, max_pixels: int, **options: Any) -> None:
    """Enlarge a picture by what is around it; its own pixels come back as they were."""
    from ...runtime.imaging.picture import read
    from ...runtime.tools.outpaint import Outpaint
    from ..outputs import Target, source

    target = Target(output, overwrite, [image], model=options["model"])
    target.numbered(options["n"])
    options["preview"].check([image])
    picture = read(source(image), max_pixels=max_pixels)
    edit(lambda pipe, rest: Outpaint(pipe.model, picture, prompt, **rest), target, max_pixels, **options)


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("outpaint", help="paint what is around a picture", description=outpaint.__doc__)
    parser.set_defaults(command=outpaint)
    parser.add_argument("image", metavar="IN", type=Path, help="the picture")
    add_prompt(parser, "what the whole shall show")
    add_preset(parser, "outpaint")
    add_infotext(parser, "outpaint")
    add_output(parser)
    add_options(parser, "outpaint", "left", "top", "right", "bottom", "fill", "colour", "overlap", "feather")
    add_editing(parser, "outpaint")
