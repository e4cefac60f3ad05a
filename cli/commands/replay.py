"""The command that makes a picture again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..common import PARTLY, add_engine, add_saving
from ..console import Console, add_console
from ..image_prompts import add_adapters
from ..prompts import add_embeddings, teach
from ..saving import save


def replay(
    file: Path,
    inputs: list[Path],
    output: Path | None,
    model: str | None,
    embeddings: list[Path],
    quality: int,
    strip_metadata: bool,
    overwrite: bool,
    engine: dict[str, Any],
    console: Console,
) -> int:
    """Make a picture again from the record in its file, say whether its pixels are the same, and if not, what is no
    longer as it was."""
    from ...runtime.replay import Again
    from ..outputs import Target, source

    target = Target(output, overwrite, [file], inputs) if output else None
    if target:
        target.numbered(1)
    again = Again(source(file), [source(given) for given in inputs])
    pipe = again.load(model, **{name: value for name, value in engine.items() if value is not None})
    teach(pipe, embeddings)
    known = again.changed(pipe)
    for difference in known:
        console.note(difference)
    made = again.run(pipe)
    for difference in made.differences[len(known) :]:
        console.note(difference)
    if target:
        [path] = target.paths([made.output.request], pipe.bundle.model.default_sampler)
        save(console, path, made.output, quality, strip_metadata)
    console.add(equal=made.equal, distance=made.distance)
    console.say(f"{file}: {'the pixels are equal' if made.equal else 'the pixels are not equal'}")
    if made.distance:
        console.say(made.distance)
    return 0 if made.equal else PARTLY


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("replay", help="make a picture again and compare", description=replay.__doc__)
    parser.set_defaults(command=replay)
    parser.add_argument("file", metavar="FILE", type=Path, help="a picture that overpaint made")
    parser.add_argument(
        "--input",
        dest="inputs",
        type=Path,
        action="append",
        default=[],
        metavar="IN",
        help="a picture it was made from (where the record says, or beside FILE); may be repeated",
    )
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, help="write the new picture there")
    parser.add_argument("--model", metavar="MODEL", help="a bundle's folder or name (the one that made it)")
    add_embeddings(parser)
    add_adapters(parser)
    add_saving(parser)
    add_engine(parser)
    add_console(parser)
    # What is not given is as the record has it.
    parser.set_defaults(engine=None, threads=None)
