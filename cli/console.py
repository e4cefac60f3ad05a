"""What commands print: lines and bars for people, or one JSON document for programs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import counted

if TYPE_CHECKING:
    from ..runtime.requests.result import Output, Result
    from ..runtime.sampling.plan import Plan


class Console:
    """Prints what a command did.

    `quiet` prints errors alone, `verbose` the table, the engines and the caches too. `as_json` prints nothing but one
    document at the end: files with their seeds and notes, plan, timings, engines, and an error where there was one.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False, as_json: bool = False) -> None:
        self.quiet, self.verbose, self.as_json = quiet or as_json, verbose and not as_json, as_json
        self._silent = quiet
        self._document: dict[str, Any] = {"files": [], "plan": None, "timings": {}, "engines": {}, "notes": []}

    def say(self, text: str) -> None:
        """Print a line for people."""
        if not self.quiet:
            print(text, flush=True)

    def note(self, text: str) -> None:
        """Print what there is to know about the work."""
        self._document["notes"].append(text)
        if not self._silent:
            print(f"overpaint: {text}", file=sys.stderr, flush=True)

    def add(self, **facts: Any) -> None:
        """Put facts into the document."""
        self._document |= facts

    def saved(self, path: Path, output: Output, notes: Iterable[str] = ()) -> None:
        """Say where a result is, with which seed, and what there is to know."""
        request, every = output.request, [*output.notes, *notes]
        varied = request.variation_seed if request.variation_strength else None
        self._document["files"].append(
            {
                "path": str(path),
                "seed": request.seed,
                "variation_seed": varied,
                "size": list(output.image.size),
                "drift": list(output.drift),
                "certificate": str(output.certificate) if output.certificate else None,
                "notes": every,
            }
        )
        self.say(f"{path}  seed {request.seed}{'' if varied is None else f', variation seed {varied}'}")
        if output.drift:
            self.say(f"drift of each pass, in deviations: {', '.join(f'{drift:.3f}' for drift in output.drift)}")
        if output.certificate:
            self.say(f"{path.name}: {output.certificate}")
        for note in every:
            self.note(f"note: {path.name}: {note}")

    def ran(self, result: Result) -> None:
        """Say what a run took; the timings of several runs are summed."""
        document = self._document
        document["plan"] = document["plan"] or plan_document(result.plan)
        document["engines"] |= result.engines
        for stage, seconds in result.timings.items():
            document["timings"][stage] = document["timings"].get(stage, 0.0) + seconds
        stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in result.timings.items())
        self.say(f"{_evaluations(result)}; seconds: {stages}")
        if self.verbose:
            self.say(str(result.plan))
            for name, label in result.engines.items():
                self.say(f"{name}: {label}")
            if result.cached:
                self.say(f"from caches: {', '.join(f'{count} {name}' for name, count in result.cached.items())}")

    def end(self, code: int, error: Exception | None = None) -> None:
        """Print the error, and the document with the exit code where that is wanted."""
        if error is not None:
            print(f"overpaint: {error}", file=sys.stderr, flush=True)
        if self.as_json:
            failure = error and {"kind": type(error).__name__, "message": str(error)}
            print(json.dumps({**self._document, "exit": code, "error": failure}, allow_nan=False), flush=True)

    @property
    def bars(self) -> bool:
        """Whether progress is drawn: on a terminal, where nobody wants quiet."""
        return sys.stderr.isatty() and not self.quiet


def _evaluations(result: Result) -> str:
    """How often the model is evaluated for an image, and how many of these evaluations are computed whole where some
    are cached; the least and the most where images differ."""
    from ..runtime.sampling.caching import computed

    said = f"{_between([len(output.plan) for output in result.outputs], 'model evaluation')} an image"
    wholes = [
        int(computed(output.plan, output.request.caching).sum()) if output.request.caching else len(output.plan)
        for output in result.outputs
    ]
    if any(output.request.caching for output in result.outputs):
        said += f", {_between(wholes)} of them computed whole"
    return said


def _between(counts: Sequence[int], noun: str = "") -> str:
    least, most = min(counts), max(counts)
    several = counted(most, noun) if noun else str(most)
    return f"{least} to {several}" if least < most else several


def plan_document(plan: Plan) -> Mapping[str, Any]:
    """A plan as JSON has it: the sigma and the timestep of every evaluation, the noise that it starts with."""
    return {
        "sampler": plan.sampler,
        "schedule": plan.schedule,
        "steps": plan.steps,
        "evaluations": len(plan),
        "start": plan.start.tolist(),
        "timesteps": plan.timesteps.tolist(),
        # JSON has no infinity, where pure noise begins.
        "sigmas": [sigma if math.isfinite(sigma) else None for sigma in plan.sigmas.tolist()],
    }


def add_console(parser: Any) -> None:
    """How much is printed, and as what."""
    group = parser.add_argument_group("what is printed")
    group.add_argument("--json", dest="as_json", action="store_true", help="one JSON document instead of lines")
    group.add_argument("-q", "--quiet", action="store_true", help="errors alone")
    group.add_argument("-v", "--verbose", action="store_true", help="the table, the engines and the caches too")


def report(stage: str) -> None:
    """Say what is being done."""
    print(stage, file=sys.stderr, flush=True)


@contextmanager
def bar() -> Iterator[Callable[[str, float], bool]]:
    """What draws how much of something is done, a bar on a terminal."""
    from tqdm import tqdm

    with tqdm(
        total=1.0, bar_format="{desc} {percentage:3.0f}% {bar}", disable=not sys.stderr.isatty(), leave=False
    ) as bar:

        def report(name: str, done: float) -> bool:
            bar.set_description_str(name, refresh=False)
            bar.update(done - bar.n)
            return True

        yield report


def waiting(name: str) -> None:
    """Say that another process is at work."""
    print(f"{name}: another process is building it; waiting", file=sys.stderr, flush=True)
