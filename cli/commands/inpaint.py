"""The command that repaints a part of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common import (
    add_output,
    add_preset,
)
from ..infotext import add_infotext
from ..prompts import add_prompt, add_regions
from ..values import numbers

if TYPE_CHECKING:
    pass
from ..editing import add_editing, edit

SOFT = {
    "preservation": "how much of the original greys keep (0.5)",
    "bias": "towards early steps above 1, late ones below (1)",
    "boost": "of contrast where greys blend (4)",
    "influence": "of the mask on the threshold of the paste, 0 to 1 (0)",
    "threshold": "how far latents move where half of the new shows (0.5)",
    "contrast": "of the paste (2)",
}


def inpaint(
    image: Path,
    mask: Path,
    prompt: str,
    regions: list[tuple[str, str]],
    output: Path,
    overwrite: bool,
    blur: Any,
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
    options["blur"] = blur if len(blur) > 1 else blur[0]
    edit(lambda pipe, rest: Inpaint(pipe, picture, shapes, prompts, **rest), target, max_pixels, **options)


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
    parser.add_argument("--channel", default="auto", metavar="NAME", help="of the mask: auto, luma or alpha (auto)")
    parser.add_argument("--invert", action="store_true", help="repaint black instead of white")
    parser.add_argument("--resize-mask", action="store_true", help="scale a mask of another size to the picture's")
    parser.add_argument("--grow", type=int, default=0, metavar="PX", help="of the mask; negative shrinks it (0)")
    parser.add_argument(
        "--mask-blur", dest="blur", type=numbers, default=(4.0,), metavar="PX[,PX]", help="sigma, or x and y (4)"
    )
    parser.add_argument(
        "--blur-kind", default="a1111", metavar="NAME", help="whose blur: a1111's or diffusers' (a1111)"
    )
    parser.add_argument(
        "--levels",
        default="hard",
        metavar="WAY",
        help="what greys of the mask are: hard, soft (soft inpainting) or strength (a strength a pixel) (hard)",
    )
    parser.add_argument(
        "--content", default="original", metavar="WHAT", help="to begin with: original, fill, noise, nothing (original)"
    )
    parser.add_argument("--only-masked", action="store_true", help="work on the mask's rectangle at the model's size")
    parser.add_argument("--padding", type=int, default=32, metavar="PX", help="around that rectangle (32)")
    _add_soft(parser)
    add_editing(parser, ring="16; 0 under a1111", latent_mask="cover; a1111 under a1111")


def _add_soft(parser: Any) -> None:
    for name, help_ in SOFT.items():
        where = "" if name == "preservation" else ", under a1111"
        parser.add_argument(f"--soft-{name}", type=float, metavar="N", help=f"of levels soft{where}: {help_}")
