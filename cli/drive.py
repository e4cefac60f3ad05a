"""Runs driven to their ends: a progress bar, a preview in a file, and a limit of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import add_options
from .console import Console
from .values import count, seconds

if TYPE_CHECKING:
    from ..runtime.denoising.loop import Step
    from ..runtime.execution.work import Work
    from ..runtime.requests.result import Result


@dataclass(frozen=True)
class Preview:
    """A file that shows the first image on its way, written anew every so many evaluations; None writes none."""

    path: Path | None
    every: int

    def check(self, inputs: Iterable[Path] = ()) -> None:
        """Raise `InputError` or `OutputError` for a file that cannot be written, and for one that is an input."""
        from ..runtime.imaging.output import check_writable
        from .outputs import check_other

        if self.path:
            check_writable(self.path)
            check_other(self.path, inputs)

    def show(self, step: Step) -> None:
        """Write the file, where the step is one that it shows."""
        from ..runtime.imaging.output import write

        if self.path and step.image == 0 and (step.index + 1) % self.every == 0:
            write(self.path, step.preview())


def drive(
    runs: Sequence[Work[Result]], console: Console, preview: Preview, timeout: float | None = None
) -> Iterator[Result]:
    """Drive runs to their ends one after the other; `timeout` is in seconds for all of them together."""
    from tqdm import tqdm

    from ..runtime.execution.clock import Clock
    from ..runtime.execution.work import within

    clock = Clock(timeout)
    total = sum(run.evaluations for run in runs)
    with tqdm(total=total, unit="eval", disable=not console.bars, leave=False) as bar:
        for run in runs:
            for step in within(run, clock):
                bar.set_postfix(sigma=f"{step.sigma:.3g}", refresh=False)
                bar.update()
                preview.show(step)
            yield run.result()


def add_driving(parser: Any) -> None:
    """What happens while a run goes on."""
    parser.add_argument(
        "--preview", type=Path, metavar="FILE", help="write the first image on its way there, as .png, .jpg or .webp"
    )
    parser.add_argument(
        "--preview-every", type=count, default=5, metavar="N", help="evaluations between two previews (5)"
    )
    add_options(parser, "img2img", "timeout", type=seconds)
