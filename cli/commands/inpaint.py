"""The command that repaints a part of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.requests.options import of_tool
from ..arguments import add_options
from ..common import (
    add_output,
    add_preset,
)
from ..infotext import add_infotext
from ..prompts import add_prompt, add_regions

if TYPE_CHECKING:
    pass
from ..editing import add_editing, edit


def inpaint(
    image: Path,
    mask: Path,
    prompt: str,
    regions: list[tuple[str, str]],
    output: Path,
    overwrite: bool,
    max_pixels: int,
    **options: Any,
) -> None:
    """Repaint what a mask shows white, or transparent; every other pixel comes back as it was."""
    from ...runtime.imaging.picture import read
    from ...runtime.tools.inpaint import Inpaint
    from ..outputs import Target, source

    masks, prompts = [mask, *(Path(path) for path, _ in regions)], [prompt, *(text for _, text in regions)]
    target = Target(output, overwrite, [image], masks, options["model"])
    target.numbered(options["n"])
    options["preview"].check([image, *masks])
    picture, shapes = read(source(image), max_pixels=max_pixels), [source(path) for path in masks]
    edit(lambda pipe, rest: Inpaint(pipe.model, picture, shapes, prompts, **rest), target, max_pixels, **options)


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("inpaint", help="repaint what a mask shows", description=inpaint.__doc__)
    parser.set_defaults(command=inpaint)
    parser.add_argument("image", metavar="IN", type=Path, help="the picture")
    parser.add_argument("mask", metavar="MASK", type=Path, help="white or transparent where it is repainted")
    add_prompt(parser, "what it shall become there")
    add_preset(parser, "inpaint")
    add_infotext(parser, "inpaint")
    add_output(parser)
    add_regions(parser, "a further mask with a prompt of its own, on top; may be repeated")
    names = ("channel", "invert", "resize_mask", "grow", "blur", "blur_kind", "levels", "content", "only_masked")
    add_options(parser, "inpaint", *names, "padding")
    add_options(parser, "inpaint", *(name for name in of_tool("inpaint") if name.startswith("soft_")))
    add_editing(parser, "inpaint")
