"""The command that draws a grid of parameters."""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError, counted
from ...runtime.requests.options import of_tool
from ..arguments import add_options
from ..common import (
    add_engine,
    add_limit,
    add_model,
    add_output,
    add_preset,
    add_saving,
    add_sizes,
    add_together,
)
from ..console import Console, add_console
from ..controls import add_control
from ..drive import Preview, drive
from ..image_prompts import add_image_prompt
from ..infotext import add_infotext
from ..names import list_sampling
from ..prompts import add_embeddings, add_prompt, teach
from ..values import count

if TYPE_CHECKING:
    from ...runtime.tools.grid import Axis, Grid


MANY = 64
_REPLACING = "'fox=>cat,dog': fox itself, and each of the others in its place in the prompt"


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
    from ...runtime.imaging.picture import read
    from ...runtime.pipeline import load
    from ...runtime.tools.grid import AXES, REPLACE, Grid, axis, thumbnail
    from ..outputs import Target, put, source

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
    parameters = made.parameters(runs[0].prepared[0].parameters)
    images = []
    for result in drive(runs, console, Preview(None, 1)):
        console.ran(result)
        images += [thumbnail(image, cell) for image in result.images]
    sheet = made.sheet(images, prompt, cell, font)
    put(path, sheet, None if strip_metadata else parameters, quality=quality)
    console.add(files=[{"path": str(path), "seed": requests[0].seed, "size": list(sheet.size)}])
    console.say(f"{path}  {counted(len(requests), 'picture')}, seed {requests[0].seed}")


def _ask(made: Grid, yes: bool) -> None:
    """Have a large grid confirmed: raises `InputError` where it is not."""
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
    """Add the command to the parser's."""
    parser = commands.add_parser("grid", help="compare lists of options on a sheet", description=grid.__doc__)
    parser.set_defaults(command=grid, order=())
    parser.add_argument("image", metavar="IN", type=Path, help="the picture to repaint")
    add_prompt(parser, "what it shall become")
    add_output(parser)
    lists = parser.add_argument_group("one value, or a list with commas: one to three lists make the grid")
    for option in of_tool("img2img").values():
        if option.axis:
            keywords = {"action": _Listed, "default": None, "type": None, "metavar": "LIST"}
            add_options(lists, "img2img", option.name, help=f"such as {option.axis}", **keywords)
    lists.add_argument("--replace", dest="replacing", action=_Listed, metavar="LIST", help=f"such as {_REPLACING}")
    list_sampling(parser)
    add_options(parser, "img2img", "negative_prompt")
    add_model(parser)
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
    add_control(parser)
    add_image_prompt(parser)
    add_options(parser, "img2img", "loras")
    add_embeddings(parser)
    add_preset(parser, "grid")
    add_infotext(parser)
    add_limit(parser)
    add_saving(parser)
    add_engine(parser)
    add_console(parser)
