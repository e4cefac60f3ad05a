"""The command that enlarges pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common import add_engine, add_limit, add_output, add_preset, add_request, add_sampling, add_saving, add_seed
from ..console import Console, add_console
from ..drive import Preview, add_driving
from ..infotext import add_infotext
from ..prompts import add_prompt, add_prompting, teach
from ..saving import save
from ..values import count

if TYPE_CHECKING:
    from ...runtime.progress import ProgressCallback


def upscale(
    image: Path,
    output: Path,
    upscaler: Path | None,
    embeddings: list[Path],
    quality: int,
    strip_metadata: bool,
    overwrite: bool,
    max_pixels: int,
    model: str,
    engine: dict[str, Any],
    console: Console,
    preview: Preview,
    timeout: float | None,
    **options: Any,
) -> None:
    """Enlarge a picture, and paint the detail that it lacks in tiles without seams."""
    from ...runtime.execution.clock import Clock, within
    from ...runtime.imaging.picture import read
    from ...runtime.model.load import load
    from ...runtime.model.upscaler import load_upscaler
    from ...runtime.tools.upscale import Upscale
    from ..outputs import Target, source

    target = Target(output, overwrite, [image], model=model)
    target.numbered(1)
    preview.check([image])
    picture = read(source(image), max_pixels=max_pixels)
    pipe = load(model, **engine)
    teach(pipe, embeddings)
    first = load_upscaler(upscaler) if upscaler else None
    with tiles(console) as progress:
        work = Upscale(pipe, picture, upscaler=first, progress=progress, **options)
        [path] = target.paths(work.requests, pipe.bundle.model.default_sampler)
        target.check(path, work.size)
        for step in within(work, Clock(timeout)):
            preview.show(step)
    result = work.result()
    save(console, path, result.outputs[0], quality, strip_metadata)
    console.ran(result)
    console.add(seams={"lines": len(result.seams.lines), "worst": float(result.seams.worst)})
    console.say(f"seams: the worst of {len(result.seams.lines)} scores {result.seams.worst:.2f}")


@contextmanager
def tiles(console: Console) -> Iterator[ProgressCallback]:
    """What draws a bar of the tiles of each stage, with the time left, on a terminal."""
    from tqdm import tqdm

    with tqdm(unit="tile", disable=not console.bars, leave=False) as bar:

        def progress(stage: str, done: int, total: int) -> None:
            if not done > bar.n or total != bar.total:
                bar.reset(total)
                bar.set_description(stage, refresh=False)
            bar.update(done - bar.n)

        yield progress


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("upscale", help="enlarge a picture", description=upscale.__doc__)
    parser.set_defaults(command=upscale)
    parser.add_argument("image", metavar="IN", type=Path, help="the picture to enlarge")
    add_prompt(parser, "what is to be seen (nothing said)", usual="")
    add_output(parser)
    parser.add_argument("--scale", type=float, default=2.0, metavar="N", help="how many times, 1 to 16 (2)")
    parser.add_argument(
        "--upscaler", type=Path, metavar="BUNDLE", help="an exported upscaler for the first enlargement (Lanczos)"
    )
    add_seed(parser, "(drawn, and printed)")
    _add_tiles(parser)
    _add_seams(parser)
    add_sampling(parser)
    add_prompting(parser)
    add_request(parser, noise="field; of tiles under a1111 gpu")
    add_preset(parser, "upscale")
    add_infotext(parser, "upscale")
    add_limit(parser)
    add_saving(parser)
    add_engine(parser)
    add_driving(parser)
    add_console(parser)


def _add_tiles(parser: Any) -> None:
    parser.add_argument(
        "--method",
        default="joint",
        metavar="NAME",
        help="joint: all windows at every step, joined in latents; tiles: one after the other (joint)",
    )
    parser.add_argument("--tile", type=count, metavar="PX", help="side of a tile in the result (the model's usual)")
    parser.add_argument("--overlap", type=int, metavar="PX", help="what joint windows share (a quarter of a tile)")
    parser.add_argument("--padding", type=int, metavar="PX", help="seen around a tile (a 16th of it, 2 latents)")
    parser.add_argument("--mask-blur", type=float, metavar="PX", help="blur of a tile's edge (a 64th of it, a latent)")
    parser.add_argument("--order", default="linear", metavar="NAME", help="of tiles: linear or chess (linear)")
    parser.add_argument("--batch", type=count, metavar="N", help="tiles that run together (as many as a call takes)")
    parser.add_argument(
        "--colour-match",
        metavar="HOW",
        help="to the enlarged picture: tile (each tile by itself), wavelet, histogram, mean or none (tile, or none)",
    )


def _add_seams(parser: Any) -> None:
    parser.add_argument(
        "--seam-fix",
        default="none",
        metavar="HOW",
        help="after tiles: none, bands, half_tile or half_tile_intersections (none)",
    )
    parser.add_argument("--seam-fix-strength", type=float, metavar="S", help="of seam fixes and repairs (the tiles')")
    parser.add_argument("--seam-fix-width", type=int, metavar="PX", help="of bands (an 8th of a tile)")
    parser.add_argument("--seam-fix-padding", type=int, metavar="PX", help="what is seen around (a 16th of a tile)")
    parser.add_argument("--seam-fix-blur", type=float, metavar="PX", help="blur of their masks (a 128th of a tile)")
    parser.add_argument(
        "--seam-limit",
        type=float,
        default=2.0,
        metavar="SCORE",
        help="seams above it are repaired; 1 does not show (2)",
    )
    parser.add_argument(
        "--no-repair", dest="repair", action="store_false", default=None, help="leave seams above the limit"
    )
