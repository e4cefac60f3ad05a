"""Commands that repaint pictures, or say how they would be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .common import (
    add_colour,
    add_engine,
    add_limit,
    add_output,
    add_overwrite,
    add_passes,
    add_preset,
    add_request,
    add_sampling,
    add_saving,
    add_seed,
    add_sizes,
    add_together,
    add_variation,
)
from .console import Console, add_console, plan_document, report
from .drive import Preview, add_driving, drive
from .infotext import add_infotext
from .prompts import add_guidance, add_prompt, add_prompting, add_regions, teach
from .saving import save
from .values import count, size


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
    console: Console,
    preview: Preview,
    timeout: float | None,
    **options: Any,
) -> None:
    """Repaint pictures and write what comes out."""
    from ..errors import InputError
    from ..runtime.imaging.mask import read as read_mask
    from ..runtime.imaging.picture import read
    from ..runtime.model.load import load, read_facts
    from ..runtime.requests.defaults import values
    from ..runtime.requests.expand import expand
    from ..runtime.requests.request import Region
    from ..runtime.sampling.passes import loopback
    from .outputs import Target, source

    if loops is None and (final_strength is not None or strength_curve is not None):
        raise InputError("a final strength and a curve are those of a loopback; give --loops too")
    if loops is not None and options["passes"]:
        raise InputError("passes are given twice, by --passes and by --loops; choose one")
    if loops is not None:
        last = 0.5 if final_strength is None else final_strength
        first = values(options, read_facts(model).defaults["img2img"])["strength"]
        options["passes"] = loopback(loops, first, last, strength_curve or "linear")
    scaled = options["size"] is not None and not regions  # whose masks have the whole picture's size
    target = Target(output, overwrite, list(map(Path, images)), [Path(path) for path, _ in regions], model)
    target.numbered(len(images) * n)
    pictures = [read(source(Path(image)), max_pixels=max_pixels, reduce=scaled) for image in images]
    masks = [(text, read_mask(source(Path(path)), pictures[0].size, max_pixels=max_pixels)) for path, text in regions]
    options["regions"] = tuple(Region(text, mask.levels) for text, mask in masks)
    requests = expand(pictures, [prompt], [negative_prompt], seed, n, options)
    preview.check(map(Path, images))
    pipe = load(model, **engine)
    teach(pipe, embeddings)
    paths = target.paths(requests, pipe.bundle.model.default_sampler)
    # All runs are made, and so checked, before the first begins; each run's pictures are written when it ends.
    runs = [pipe.run(requests[start : start + together]) for start in range(0, len(requests), together)]
    tasks = [task for run in runs for task in run.tasks]
    for path, task in zip(paths, tasks, strict=True):
        target.check(path, task.placement.size, None if strip_metadata else task.parameters)
    waiting = iter(paths)
    for result in drive(runs, console, preview, timeout):
        for made in result.outputs:
            save(console, next(waiting), made, quality, strip_metadata)
        console.ran(result)


def plan(
    model: str,
    sampler: str | None,
    schedule: str | None,
    coefficients: bool,
    document: bool,
    convention: str,
    **options: Any,
) -> None:
    """Print the table that a request would run, without running it."""
    from ..bundles.manifest import Bundle
    from ..runtime.model.load import find, read_schedule
    from ..runtime.requests.defaults import sampling, values
    from ..runtime.sampling.compile import compile_plan

    bundle = Bundle.read(find(model), verify=False)
    own, curve = sampling(bundle.model, sampler, schedule, convention)
    options = values(options, bundle.model.defaults["img2img"])
    del options["guidance_scale"]
    made = compile_plan(read_schedule(bundle), sampler=own, schedule=curve, convention=convention, **options)
    if document:
        print(json.dumps(plan_document(made), allow_nan=False))
    else:
        print(made.table(coefficients=True) if coefficients else made)


def bench(
    model: str,
    size: tuple[int, int] | None,
    repeats: int,
    warmup: int,
    record: Path | None,
    engine: dict[str, Any],
    **options: Any,
) -> None:
    """Time a bundle on this machine: seconds by stage, the first picture, pictures a second, peak memory."""
    from ..runtime.diagnostics.bench import bench as measure
    from ..runtime.imaging.output import check_place, replace

    if record:
        check_place(record)

    loading = {"shapes": "static", **engine}
    made = measure(model, size=size, repeats=repeats, warmup=warmup, loading=loading, progress=report, **options)
    print(made.table())
    if record:
        replace(record, json.dumps(made.record(), indent=2).encode())


def demo(output: Path, overwrite: bool) -> None:
    """Repaint a picture and draw the contact sheet."""
    from ..runtime.diagnostics.demo import FILES
    from ..runtime.diagnostics.demo import demo as run
    from .outputs import check_free

    for name in () if overwrite else FILES:
        check_free(output / name)
    for line in run(output):
        print(line, flush=True)


def add(commands: Any) -> None:
    """Add this file's commands to the parser's."""
    _add_img2img(commands)
    _add_plan(commands)
    _add_bench(commands)
    _add_demo(commands)


def _add_img2img(commands: Any) -> None:
    parser = commands.add_parser("img2img", help="repaint pictures", description=img2img.__doc__)
    parser.set_defaults(command=img2img)
    # Texts, of which the last may turn out to be the prompt.
    parser.add_argument("images", metavar="IN", nargs="+", help="pictures to repaint")
    add_prompt(parser, "what they shall become: the last word", spare="images")
    add_output(parser)
    add_seed(parser)
    parser.add_argument("--n", type=int, default=1, help="images a picture (1)")
    add_together(parser)
    add_sizes(parser)
    add_variation(parser)
    _add_loops(parser)
    add_sampling(parser)
    add_prompting(parser)
    add_regions(parser, "what is to be where a mask is white, instead of the prompt; may be repeated")
    add_request(parser)
    add_colour(parser)
    add_preset(parser, "img2img")
    add_infotext(parser)
    add_limit(parser)
    add_saving(parser)
    add_engine(parser)
    add_driving(parser)
    add_console(parser)


def _add_loops(parser: Any) -> None:
    add_passes(parser)
    parser.add_argument("--loops", type=count, metavar="N", help="as many passes, the first of --strength")
    parser.add_argument("--final-strength", type=float, metavar="S", help="of the last pass with --loops (0.5)")
    parser.add_argument(
        "--strength-curve", metavar="NAME", help="how strength gets there: linear, aggressive or lazy (linear)"
    )
    parser.add_argument(
        "--through-pixels", action="store_true", help="decode and encode between passes, as loops over pictures do"
    )
    parser.add_argument(
        "--drift-correction", action="store_true", help="undo the drift of the colours after every pass"
    )


def _add_plan(commands: Any) -> None:
    parser = commands.add_parser("plan", help="print the table of a run without running it", description=plan.__doc__)
    parser.set_defaults(command=plan)
    parser.add_argument("--coefficients", action="store_true", help="print every line's equations too")
    parser.add_argument(
        "--json",
        dest="document",
        action="store_true",
        help="a JSON document: sigma and timestep of every evaluation",
    )
    add_sampling(parser)
    add_infotext(parser)


def _add_bench(commands: Any) -> None:
    parser = commands.add_parser("bench", help="time a bundle on this machine", description=bench.__doc__)
    parser.set_defaults(command=bench)
    parser.add_argument("--size", type=size, metavar="WxH", help="of the pictures (the model's own)")
    parser.add_argument("--repeats", type=count, default=5, metavar="N", help="pictures that count (5)")
    parser.add_argument("--warmup", type=count, default=1, metavar="N", help="pictures before them (1)")
    parser.add_argument("--json", dest="record", metavar="FILE", type=Path, help="write the figures there too")
    add_sampling(parser)
    add_guidance(parser)
    add_engine(parser)


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser("demo", help="repaint a picture and draw a contact sheet", description=demo.__doc__)
    parser.add_argument(
        "-o", "--out", dest="output", type=Path, default=Path("out"), help="folder for the pictures (out)"
    )
    add_overwrite(parser)
    parser.set_defaults(command=demo)
