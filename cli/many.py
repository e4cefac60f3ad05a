"""Commands that make many pictures: of a folder, and of a grid of parameters."""

from __future__ import annotations

import argparse
import secrets
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import (
    PARTLY,
    add_colour,
    add_engine,
    add_limit,
    add_output,
    add_preset,
    add_request,
    add_sampling,
    add_saving,
    add_seed,
    add_sizes,
    add_together,
    add_variation,
)
from .console import Console, add_console
from .drive import Preview, drive
from .infotext import add_infotext
from .names import list_sampling
from .prompts import add_embeddings, add_negative, add_prompt, add_prompting, embedding_hashes, teach
from .saving import save
from .values import count, ending

if TYPE_CHECKING:
    from ..runtime.requests.request import Output
    from ..runtime.tools.folder import Skipped
    from ..runtime.tools.grid import Axis, Grid

MANY = 64


def batch(
    folder: Path,
    prompt: str,
    output: Path,
    recursive: bool,
    suffix: str | None,
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
    console: Console,
    **options: Any,
) -> int:
    """Repaint every picture of a folder. A second run does what is missing or asked for otherwise; a picture that
    cannot be repainted is skipped. The text in a.txt is the prompt of a.png."""
    from ..bundles.manifest import Bundle
    from ..runtime.model.load import find as find_bundle
    from ..runtime.requests.defaults import values
    from ..runtime.tools.batch import Settings
    from ..runtime.tools.folder import Item, Journal, check_folder, find, name, plan
    from .naming import folder_and_pattern, named

    bundle = Bundle.read(find_bundle(model), verify=False)
    options = values(options, bundle.model.defaults["img2img"])
    settings = Settings(prompt, options, negative_prompt, n, seed or 0)
    output, pattern = folder_and_pattern(output, suffix)
    sources = find(folder, output, recursive)
    if not pattern:
        paths = name(sources, folder, output, suffix or ".png", n)
    check_folder(output)
    journal = Journal(output)
    if seed is None:
        settings = replace(settings, seed=journal.drawn_seed())
    if pattern:
        paths = named(pattern, sources, folder, output, settings, bundle.model.default_sampler, model)
    hashes = [graph.sha256 for graph in bundle.graphs.values()]
    wanted = [hashes, asdict(settings), embedding_hashes(embeddings), quality, strip_metadata]
    planned = list(plan(sources, paths, prompt, wanted, journal, overwrite))
    items = [item for item in planned if isinstance(item, Item)]
    skipped = [_skip(console, item) for item in planned if not isinstance(item, Item)]
    older = {path for item in items for path, _ in item.todo.values() if journal.made(path)}
    written: list[Path] = []
    if any(item.todo for item in items):

        def write(path: Path, made: Output) -> None:
            save(console, path, made, quality, strip_metadata)
            written.append(path)

        work = items, settings, journal, write, together
        skipped += _worked(console, model, engine, embeddings, max_pixels, *work)
    passed = len({each.source for each in skipped})
    console.add(skipped=[{"path": str(each.source), "reason": each.reason} for each in skipped])
    replaced = len(older.intersection(written))
    if replaced:
        subject = "1 image that this batch wrote with another input, prompt or options was"
        several = f"{replaced} images that this batch wrote with another input, prompt or options were"
        console.note(f"note: {subject if replaced == 1 else several} replaced")
    kind = "" if n == 1 else " images"
    console.say(
        f"{len(sources)} pictures: {len(written)}{kind} written{f' ({replaced} replaced)' if replaced else ''}, "
        f"{sum(item.there for item in items)}{kind} already there, {passed} skipped"
    )
    return PARTLY if skipped else 0


def _worked(
    console: Console, model: str, engine: dict[str, Any], embeddings: list[Path], max_pixels: int, *work: Any
) -> list[Skipped]:
    """Load the model and do a batch's work, with a bar that says how long it will take; what was skipped."""
    from tqdm import tqdm

    from ..runtime.denoising.loop import Step
    from ..runtime.model.load import load
    from ..runtime.tools.batch import Batch
    from ..runtime.tools.folder import Skipped

    pipe = load(model, **engine)
    pipe.max_pixels = max_pixels
    teach(pipe, embeddings)
    batch = Batch(pipe, *work)
    skipped = []
    with tqdm(total=batch.total, unit="eval", disable=not console.bars, leave=False) as bar:
        for event in batch:
            if isinstance(event, Step):
                bar.update()
            elif isinstance(event, Skipped):
                skipped.append(_skip(console, event))
    return skipped


def _skip(console: Console, skipped: Skipped) -> Skipped:
    console.note(f"skipped: {skipped.reason}")
    return skipped


def grid(
    image: Path,
    prompt: str,
    output: Path,
    negative_prompt: str,
    replacing: str | None,
    order: tuple[str, ...],
    cell: int,
    font: Path | None,
    yes: bool,
    together: int,
    embeddings: list[Path],
    quality: int,
    strip_metadata: bool,
    overwrite: bool,
    max_pixels: int,
    model: str,
    engine: dict[str, Any],
    console: Console,
    **options: Any,
) -> None:
    """Repaint a picture with every combination of lists of options, and draw a labelled contact sheet. The first list
    runs along the columns, the second down the rows, the third in blocks of rows."""
    from ..runtime.imaging.picture import read
    from ..runtime.model.load import load
    from ..runtime.tools.grid import AXES, REPLACE, Grid, axis, thumbnail
    from .outputs import Target, put, source

    lists: dict[str, Axis] = {}
    for name, value in options.items():
        if name in AXES and isinstance(value, str):
            lists[name] = axis(name, value)
    single = {name: list_.values[0] for name, list_ in lists.items() if len(list_.values) == 1}
    several = {name: list_ for name, list_ in lists.items() if len(list_.values) > 1}
    if replacing is not None:
        several["replacing"] = axis(REPLACE, replacing)
    made = Grid(tuple(several[name] for name in dict.fromkeys(order) if name in several))
    given = {**options, **single}
    given = {name: value for name, value in given.items() if value is not None and name not in several}
    given.setdefault("seed", secrets.randbelow(2**32))
    target = Target(output, overwrite, [image], model=model)
    target.numbered(1)
    picture = read(source(image), max_pixels=max_pixels, reduce=options["size"] is not None)
    requests = made.requests(picture, prompt, negative_prompt, given)
    made.check(cell)
    if note := made.undrawable(prompt, font):
        console.note(f"note: {output.name}: {note}")
    _ask(made, yes)
    pipe = load(model, **engine)
    teach(pipe, embeddings)
    [path] = target.paths(requests[:1], pipe.bundle.model.default_sampler)
    runs = [pipe.run(requests[start : start + together]) for start in range(0, len(requests), together)]
    parameters = made.parameters(runs[0].tasks[0].parameters)
    images = []
    for result in drive(runs, console, Preview(None, 1)):
        console.ran(result)
        images += [thumbnail(image, cell) for image in result.images]
    sheet = made.sheet(images, prompt, cell, font)
    put(path, sheet, None if strip_metadata else parameters, quality=quality)
    console.add(files=[{"path": str(path), "seed": requests[0].seed, "size": list(sheet.size)}])
    console.say(f"{path}  {len(requests)} pictures, seed {requests[0].seed}")


def _ask(made: Grid, yes: bool) -> None:
    """Have a large grid confirmed: raises `InputError` where it is not."""
    from ..errors import InputError

    if yes or len(made) <= MANY:
        return
    if not sys.stdin.isatty():
        raise InputError(f"the grid has {len(made)} pictures, more than {MANY}; say --yes if that is meant")
    print(f"The grid has {len(made)} pictures. Make them all? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InputError("nothing is made")


class _Listed(argparse.Action):
    """Keeps a text, and the order in which options with lists were given."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, values)
        namespace.order = (*namespace.order, self.dest)


def add(commands: Any) -> None:
    """Add this file's commands to the parser's."""
    _add_batch(commands)
    _add_grid(commands)


def _add_batch(commands: Any) -> None:
    parser = commands.add_parser("batch", help="repaint the pictures of a folder", description=batch.__doc__)
    parser.set_defaults(command=batch)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="pictures to repaint")
    add_prompt(parser, "what they shall become, where no a.txt beside a.png says it")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUTFOLDER",
        type=Path,
        required=True,
        help="where results go, or OUTFOLDER/PATTERN.png",
    )
    parser.add_argument("--recursive", action="store_true", help="go into the folder's folders too")
    parser.add_argument("--format", dest="suffix", choices=(".png", ".jpg", ".webp"), type=ending, help="(png)")
    add_seed(parser, "of each picture's first image (drawn once for the folder)")
    parser.add_argument("--n", type=count, default=1, help="images a picture (1)")
    add_together(parser)
    add_sizes(parser)
    add_variation(parser)
    add_sampling(parser)
    add_prompting(parser)
    add_request(parser)
    add_colour(parser)
    add_preset(parser, "batch")
    add_infotext(parser)
    add_limit(parser)
    add_saving(parser)
    add_engine(parser)
    add_console(parser)


def _add_grid(commands: Any) -> None:
    parser = commands.add_parser("grid", help="compare lists of options on a sheet", description=grid.__doc__)
    parser.set_defaults(command=grid, order=())
    parser.add_argument("image", metavar="IN", type=Path, help="the picture to repaint")
    add_prompt(parser, "what it shall become")
    add_output(parser)
    lists = parser.add_argument_group("one value, or a list with commas: one to three lists make the grid")
    for flag, dest, example in _LISTS:
        flags = [flag, "--guidance-scale"] if dest == "guidance_scale" else [flag]
        lists.add_argument(*flags, dest=dest, action=_Listed, metavar="LIST", help=f"such as {example}")
    list_sampling(parser)
    add_negative(parser, "of every picture")
    parser.add_argument("--model", default="tiny", help="a bundle's folder, or the name of a bundled one (tiny)")
    parser.add_argument("--cell", type=count, default=256, metavar="N", help="pixels a side of a cell (256)")
    parser.add_argument(
        "--font",
        type=Path,
        metavar="FILE",
        help="of the labels (Pillow's own, and the system's for what it lacks)",
    )
    parser.add_argument("--yes", action="store_true", help=f"do not ask before more than {MANY} pictures")
    add_together(parser)
    add_sizes(parser)
    add_embeddings(parser)
    add_preset(parser, "grid")
    add_infotext(parser)
    add_limit(parser)
    add_saving(parser)
    add_engine(parser)
    add_console(parser)


_LISTS = (
    ("--strength", "strength", "0.3,0.5,0.7"),
    ("--steps", "steps", "10,20"),
    ("--sampler", "sampler", "ddim,euler_a"),
    ("--schedule", "schedule", "karras,exponential"),
    ("--guidance", "guidance_scale", "3,5,7.5"),
    ("--guidance-rescale", "guidance_rescale", "0,0.7"),
    ("--convention", "convention", "contract,a1111"),
    ("--eta", "eta", "0,1"),
    ("--seed", "seed", "1,2,3"),
    ("--variation-seed", "variation_seed", "4,5"),
    ("--variation-strength", "variation_strength", "0.1,0.2"),
    ("--clip-skip", "clip_skip", "0,1"),
    ("--noise", "noise", "cpu,field"),
    ("--posterior", "posterior", "sample,mode"),
    ("--weighting", "weighting", "a1111,comfy"),
    ("--colour-match", "colour_match", "histogram,wavelet"),
    ("--replace", "replacing", "'fox=>cat,dog': fox itself, and each of the others in its place in the prompt"),
)
