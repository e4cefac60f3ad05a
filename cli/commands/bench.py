"""The command that times a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..arguments import add_options
from ..common import (
    add_engine,
    add_sampling,
)
from ..console import report
from ..values import count, size


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
    from ...runtime.diagnostics.bench import bench as measure
    from ...runtime.imaging.output import check_place, replace

    if record:
        check_place(record)

    loading = {"shapes": "static", **engine}
    made = measure(model, size=size, repeats=repeats, warmup=warmup, loading=loading, progress=report, **options)
    print(made.table())
    if record:
        replace(record, json.dumps(made.record(), indent=2).encode())


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("bench", help="time a bundle on this machine", description=bench.__doc__)
    parser.set_defaults(command=bench)
    parser.add_argument("--size", type=size, metavar="WxH", help="of the pictures (the model's own)")
    parser.add_argument("--repeats", type=count, default=5, metavar="N", help="pictures that count (5)")
    parser.add_argument("--warmup", type=count, default=1, metavar="N", help="pictures before them (1)")
    parser.add_argument("--json", dest="record", metavar="FILE", type=Path, help="write the figures there too")
    add_sampling(parser)
    add_options(parser, "img2img", "guidance_scale")
    add_engine(parser)
