"""The command that repaints pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..arguments import add_options
from ..common import (
    add_engine,
    add_limit,
    add_output,
    add_passes,
    add_preset,
    add_request,
    add_sampling,
    add_saving,
    add_sizes,
    add_together,
    add_variation,
)
from ..console import Console, add_console
from ..controls import add_controls
from ..drive import Preview, add_driving, drive
from ..infotext import add_infotext
from ..prompts import add_prompt, add_prompting, add_regions, teach
from ..saving import save
from ..values import count


def img2img(
    images: list[str],
    prompt: str,
    output: Path,
    n: int,
    together: int,
    seed: int | None,
    negative_prompt: str,
    embeddings: list[Path],
    quality: int,
    strip_metadata: bool,
    overwrite: bool,
    max_pixels: int,
    model: str,
    engine: dict[str, Any],
    loops: int | None,
    final_strength: float | None,
    strength_curve: str | None,
    regions: list[tuple[Path, str]],
    depth: Path | None,
    refiner: str | None,
    refiner_switch: float | None,
    console: Console,
    preview: Preview,
    timeout: float | None,
    **options: Any,
) -> None:
    """Repaint pictures and write what comes out."""
    from ...errors import InputError
    from ...runtime.imaging.mask import read as read_mask
    from ...runtime.imaging.picture import read
    from ...runtime.model.load import read_facts
    from ...runtime.pipeline import load
    from ...runtime.requests.defaults import values
    from ...runtime.requests.expand import expand
    from ...runtime.requests.places import DepthMap, Region
    from ...runtime.sampling.passes import loopback
    from ...runtime.tools.refine import SWITCH, Refined
    from ..outputs import Target, source

    if loops is None and (final_strength is not None or strength_curve is not None):
        raise InputError("a final strength and a curve are those of a loopback; give --loops too")
    if refiner is None and refiner_switch is not None:
        raise InputError("a switch is that to a refiner; give --refiner too", "refiner_switch")
    if loops is not None and options["passes"]:
        raise InputError("passes are given twice, by --passes and by --loops; choose one")
    if loops is not None:
        last = 0.5 if final_strength is None else final_strength
        first = values(options, read_facts(model).defaults["img2img"])["strength"]
        options["passes"] = loopback(loops, first, last, strength_curve or "linear")
    # Masks and depth maps have the whole picture's size.
    scaled = options["size"] is not None and not regions and depth is None
    target = Target(output, overwrite, list(map(Path, images)), [Path(path) for path, _ in regions], model)
    target.numbered(len(images) * n)
    pictures = [read(source(Path(image)), max_pixels=max_pixels, reduce=scaled) for image in images]
    masks = [(text, read_mask(source(Path(path)), pictures[0].size, max_pixels=max_pixels)) for path, text in regions]
    options["regions"] = tuple(Region(text, mask.levels) for text, mask in masks)
    if depth is not None:
        options["depth"] = DepthMap(read_mask(source(depth), pictures[0].size, max_pixels=max_pixels).levels)
    requests = expand(pictures, [prompt], [negative_prompt], seed, n, options)
    preview.check(map(Path, images))
    pipe = load(model, **engine)
    teach(pipe, embeddings)
    second = None if refiner is None else load(refiner, **engine)
    paths = target.paths(requests, pipe.bundle.model.default_sampler)
    # All runs are made, and so checked, before the first begins; each run's pictures are written when it ends.
    runs: list[Any] = (
        [pipe.run(requests[start : start + together]) for start in range(0, len(requests), together)]
        if second is None
        else [Refined(pipe.model, second.model, each, refiner_switch or SWITCH) for each in requests]
    )
    tasks = [task for run in runs for task in run.prepared]
    for path, task in zip(paths, tasks, strict=True):
        target.check(path, task.placement.size, None if strip_metadata else task.parameters)
    waiting = iter(paths)
    for result in drive(runs, console, preview, timeout):
        for made in result.outputs:
            save(console, next(waiting), made, quality, strip_metadata)
        console.ran(result)


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("img2img", help="repaint pictures", description=img2img.__doc__)
    parser.set_defaults(command=img2img)
    # Texts, of which the last may turn out to be the prompt.
    parser.add_argument("images", metavar="IN", nargs="+", help="pictures to repaint")
    add_prompt(parser, "what they shall become: the last word", spare="images")
    add_output(parser)
    add_options(parser, "img2img", "seed", "n")
    add_together(parser)
    add_sizes(parser)
    add_variation(parser)
    _add_loops(parser)
    _add_refiner(parser)
    add_sampling(parser)
    add_prompting(parser)
    add_controls(parser)
    add_regions(parser, "what is to be where a mask is white, instead of the prompt; may be repeated")
    parser.add_argument(
        "--depth",
        type=Path,
        metavar="FILE",
        help="the picture's depth map, for models that take one: a grey picture, the nearest white",
    )
    add_request(parser)
    add_options(parser, "img2img", "colour_match")
    add_preset(parser, "img2img")
    add_infotext(parser)
    add_limit(parser)
    add_saving(parser)
    add_engine(parser)
    add_driving(parser)
    add_console(parser)


def _add_refiner(parser: Any) -> None:
    parser.add_argument(
        "--refiner", metavar="MODEL", help="the model that takes the last steps, as SDXL's refiner does"
    )
    parser.add_argument(
        "--refiner-switch", type=float, metavar="SHARE", help="the share of the timesteps before it takes over (0.8)"
    )


def _add_loops(parser: Any) -> None:
    add_passes(parser)
    parser.add_argument("--loops", type=count, metavar="N", help="as many passes, the first of --strength")
    parser.add_argument("--final-strength", type=float, metavar="S", help="of the last pass with --loops (0.5)")
    parser.add_argument(
        "--strength-curve", metavar="NAME", help="how strength gets there: linear, aggressive or lazy (linear)"
    )
    add_options(parser, "img2img", "through_pixels", "drift_correction")
