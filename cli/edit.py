"""Commands that change a part of a picture, or what is around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import (
    add_engine,
    add_limit,
    add_output,
    add_passes,
    add_preset,
    add_request,
    add_sampling,
    add_saving,
    add_seed,
    add_variation,
)
from .console import Console, add_console
from .drive import Preview, add_driving, drive
from .infotext import add_infotext
from .prompts import add_prompt, add_prompting, add_regions, teach
from .saving import save
from .values import colour, count, numbers, size

if TYPE_CHECKING:
    from ..runtime.pipeline import Pipeline
    from ..runtime.tools.inpaint import Inpaint
    from ..runtime.tools.outpaint import Outpaint
    from .outputs import Target


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
    from ..runtime.imaging.picture import read
    from ..runtime.tools.inpaint import Inpaint
    from .outputs import Target, source

    masks, prompts = [mask, *(Path(path) for path, _ in regions)], [prompt, *(text for _, text in regions)]
    target = Target(output, overwrite, [image], masks, options["model"])
    target.numbered(options["n"])
    options["preview"].check([image, *masks])
    picture, shapes = read(source(image), max_pixels=max_pixels), [source(path) for path in masks]
    options["blur"] = blur if len(blur) > 1 else blur[0]
    _edit(lambda pipe, rest: Inpaint(pipe, picture, shapes, prompts, **rest), target, max_pixels, **options)


def outpaint(image: Path, prompt: str, output: Path, overwrite: bool, max_pixels: int, **options: Any) -> None:
    """Enlarge a picture by what is around it; its own pixels come back as they were."""
    from ..runtime.imaging.picture import read
    from ..runtime.tools.outpaint import Outpaint
    from .outputs import Target, source

    target = Target(output, overwrite, [image], model=options["model"])
    target.numbered(options["n"])
    options["preview"].check([image])
    picture = read(source(image), max_pixels=max_pixels)
    _edit(lambda pipe, rest: Outpaint(pipe, picture, prompt, **rest), target, max_pixels, **options)


def _edit(
    make: Callable[[Pipeline, dict[str, Any]], Inpaint | Outpaint],
    target: Target,
    max_pixels: int,
    model: str,
    engine: dict[str, Any],
    embeddings: list[Path],
    quality: int,
    strip_metadata: bool,
    n: int,
    console: Console,
    preview: Preview,
    timeout: float | None,
    **options: Any,
) -> None:
    """Load the model, have a tool work, and write what comes out."""
    from ..runtime.model.load import load

    pipe = load(model, **engine)
    pipe.max_pixels = max_pixels
    teach(pipe, embeddings)
    work = make(pipe, {"n": n, **options})
    paths = target.paths(work.requests, pipe.bundle.model.default_sampler)
    for path in paths:
        target.check(path, work.size)
    [result] = drive([work], console, preview, timeout)
    for path, made in zip(paths, result.outputs, strict=True):
        save(console, path, made, quality, strip_metadata)
    if work.evaluations:
        console.ran(result)


def add(commands: Any) -> None:
    """Add this file's commands to the parser's."""
    _add_inpaint(commands)
    _add_outpaint(commands)


def _add_inpaint(commands: Any) -> None:
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
    _add_shared(parser, ring="16; 0 under a1111", latent_mask="cover; a1111 under a1111")


def _add_outpaint(commands: Any) -> None:
    parser = commands.add_parser("outpaint", help="paint what is around a picture", description=outpaint.__doc__)
    parser.set_defaults(command=outpaint)
    parser.add_argument("image", metavar="IN", type=Path, help="the picture")
    add_prompt(parser, "what the whole shall show")
    add_preset(parser, "outpaint")
    add_infotext(parser, "outpaint")
    add_output(parser)
    for side in ("left", "top", "right", "bottom"):
        parser.add_argument(f"--{side}", type=int, default=0, metavar="PX", help="growth on that side (0)")
    parser.add_argument(
        "--fill", default="edge", metavar="WHAT", help="to begin with: edge, reflect, noise or colour (edge)"
    )
    parser.add_argument("--colour", type=colour, default=(127, 127, 127), metavar="R,G,B", help="for --fill colour")
    parser.add_argument(
        "--overlap", type=int, default=0, metavar="PX", help="of the picture that may be repainted too, fading (0)"
    )
    parser.add_argument(
        "--feather", type=int, default=8, metavar="PX", help="over which the new fades out of the old (8)"
    )
    _add_shared(parser, ring="0", latent_mask="cover")


SOFT = {
    "preservation": "how much of the original greys keep (0.5)",
    "bias": "towards early steps above 1, late ones below (1)",
    "boost": "of contrast where greys blend (4)",
    "influence": "of the mask on the threshold of the paste, 0 to 1 (0)",
    "threshold": "how far latents move where half of the new shows (0.5)",
    "contrast": "of the paste (2)",
}


def _add_soft(parser: Any) -> None:
    for name, help_ in SOFT.items():
        where = "" if name == "preservation" else ", under a1111"
        parser.add_argument(f"--soft-{name}", type=float, metavar="N", help=f"of levels soft{where}: {help_}")


def _add_shared(parser: Any, ring: str, latent_mask: str) -> None:
    parser.add_argument("--latent-mask", metavar="HOW", help=f"cover, or as diffusers or a1111 do it ({latent_mask})")
    parser.add_argument("--ring", type=int, metavar="PX", help=f"around the mask that tell a colour shift ({ring})")
    parser.add_argument("--ring-field", default="constant", metavar="NAME", help="constant, linear or quadratic")
    parser.add_argument("--size", type=size, metavar="WxH", help="the most the model works at (its own)")
    _add_run(parser)
    add_sampling(parser)
    add_prompting(parser)
    add_request(parser)
    add_limit(parser)
    add_saving(parser)
    add_engine(parser)
    add_driving(parser)
    add_console(parser)


def _add_run(parser: Any) -> None:
    add_seed(parser)
    parser.add_argument("--n", type=count, default=1, help="images (1)")
    add_passes(parser)
    add_variation(parser)
