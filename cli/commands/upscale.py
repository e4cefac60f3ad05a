"""The command that enlarges pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import add_options
from ..common import add_engine, add_limit, add_output, add_preset, add_request, add_sampling, add_saving
from ..console import Console, add_console
from ..controls import add_controls
from ..drive import Preview, add_driving
from ..infotext import add_infotext
from ..prompts import add_prompt, add_prompting, teach
from ..saving import save

if TYPE_CHECKING:
    from ...runtime.progress import ProgressCallback


TILES = (
    "method", "tile", "overlap", "padding", "mask_blur", "order", "batch", "colour_match", "seam_fix",
    "seam_fix_strength", "seam_fix_width", "seam_fix_padding", "seam_fix_blur", "seam_limit", "repair",
)  # fmt: skip


def upscale(
    image: Path,
    output: Path,
    upscaler: str | None,
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
    from ...runtime.execution.clock import Clock
    from ...runtime.execution.work import within
    from ...runtime.imaging.picture import read
    from ...runtime.pipeline import load
    from ...runtime.tools.upscale import Upscale
    from ..outputs import Target, source

    target = Target(output, overwrite, [image], model=model)
    target.numbered(1)
    preview.check([image])
    picture = read(source(image), max_pixels=max_pixels)
    pipe = load(model, **engine)
    teach(pipe, embeddings)
    with tiles(console) as progress:
        work = Upscale(pipe.model, picture, upscaler=upscaler, progress=progress, **options)
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
    add_options(parser, "upscale", "scale")
    parser.add_argument(
        "--upscaler", metavar="NAME", help="makes the first enlargement: compact, or an exported upscaler (Lanczos)"
    )
    add_options(parser, "upscale", "seed", *TILES)
    add_sampling(parser, "upscale")
    add_prompting(parser)
    add_controls(parser)
    add_request(parser, "upscale")
    add_preset(parser, "upscale")
    add_infotext(parser, "upscale")
    add_limit(parser)
    add_saving(parser)
    add_engine(parser)
    add_driving(parser)
    add_console(parser)
