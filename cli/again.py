"""The command that makes a picture again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from .common import PARTLY, add_embeddings, add_engine, add_saving, save, teach


def replay(
    file: Path,
    inputs: list[Path],
    output: Path | None,
    model: str | None,
    embeddings: list[Path],
    quality: int,
    strip_metadata: bool,
    engine: dict[str, Any],
) -> int:
    """Make a picture again from the record in its file, say whether its pixels are the same, and if not, what is no
    longer as it was."""
    from ..runtime.imaging.output import check_writable
    from ..runtime.replay import Again

    if output:
        check_writable(output)
    again = Again(file, inputs)
    pipe = again.load(model, **{name: value for name, value in engine.items() if value is not None})
    teach(pipe, embeddings)
    known = again.changed(pipe)
    for difference in known:
        print(f"overpaint: {difference}", file=sys.stderr, flush=True)
    made = again.run(pipe)
    for difference in made.differences[len(known) :]:
        print(f"overpaint: {difference}", file=sys.stderr, flush=True)
    if output:
        save(output, made.output, quality, strip_metadata)
    print(f"{file}: {'the pixels are equal' if made.equal else 'the pixels are not equal'}", flush=True)
    if made.distance:
        print(made.distance, flush=True)
    return 0 if made.equal else PARTLY


def add(commands: Any) -> None:
    """Add this file's command to the parser's."""
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
    add_saving(parser)
    add_engine(parser)
    # What is not given is as the record has it.
    parser.set_defaults(engine=None, threads=None)
