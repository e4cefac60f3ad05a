"""What inpaint and outpaint share: their options, and a tool at work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import add_options
from .common import (
    add_engine,
    add_limit,
    add_passes,
    add_request,
    add_sampling,
    add_saving,
    add_variation,
)
from .console import Console, add_console
from .controls import add_controls
from .drive import Preview, add_driving, drive
from .prompts import add_prompting, teach
from .saving import save

if TYPE_CHECKING:
    from ..runtime.pipeline import Pipeline
    from ..runtime.tools.inpaint import Inpaint
    from ..runtime.tools.outpaint import Outpaint
    from .outputs import Target


def edit(
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
    from ..runtime.pipeline import load

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


def add_editing(parser: Any, tool: str) -> None:
    """The options that inpaint and outpaint have alike."""
    add_options(parser, tool, "latent_mask", "ring", "ring_field", "size", "seed", "n")
    add_passes(parser)
    add_variation(parser)
    add_sampling(parser, tool)
    add_prompting(parser)
    add_controls(parser)
    add_request(parser, tool)
    add_limit(parser)
    add_saving(parser)
    add_engine(parser)
    add_driving(parser)
    add_console(parser)
