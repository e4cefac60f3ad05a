"""What `overpaint bench` measures: a bundle's seconds by stage, its first picture and its memory on this machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ..pipeline import Pipeline, load
from ..requests.result import Result

MEGABYTE = 1e6


@dataclass(frozen=True)
class Spread:
    """Where measurements lie: their median, and what 95 and 99 of a hundred stay below (linear between the nearest)."""

    median: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of at least one value."""
        return cls(*map(float, np.quantile(list(values), (0.5, 0.95, 0.99))))


@dataclass(frozen=True)
class Report:
    """What was measured.

    `size` is (width, height) in pixels, `evaluations` the model's a picture, `engines` say by graph what ran it.
    `load` and `first` are the seconds of loading and of the first picture, which `stages` leave out; `stages` are
    seconds by stage, of one evaluation and of the whole picture. `memory` is the process's peak in bytes, where the
    system tells it.
    """

    model: str
    size: tuple[int, int]
    evaluations: int
    repeats: int
    engines: Mapping[str, str]
    load: float
    first: float
    stages: Mapping[str, Spread]
    pictures_per_second: float
    memory: int | None

    def table(self) -> str:
        """The figures as lines of text."""
        width, height = self.size
        lines = [
            f"{self.model}, {width}x{height}, evaluations a picture: {self.evaluations}, pictures: {self.repeats}",
            *(f"  {graph:<14} {engine}" for graph, engine in self.engines.items()),
            "",
            f"  {'seconds':<14} {'median':>9} {'p95':>9} {'p99':>9}",
            *(
                f"  {stage:<14} {spread.median:9.4f} {spread.p95:9.4f} {spread.p99:9.4f}"
                for stage, spread in self.stages.items()
            ),
            "",
            f"  {'loading':<14} {self.load:9.3f} s",
            f"  {'first picture':<14} {self.first:9.3f} s",
            f"  {'throughput':<14} {self.pictures_per_second:9.3f} pictures a second",
        ]
        if self.memory is not None:
            lines.append(f"  {'peak memory':<14} {self.memory / MEGABYTE:9.0f} MB")
        return "\n".join(lines)

    def record(self) -> dict[str, Any]:
        """The figures for JSON."""
        return asdict(self)


def bench(
    model: str | Path = "tiny",
    *,
    size: tuple[int, int] | None = None,
    repeats: int = 5,
    warmup: int = 1,
    loading: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> Report:
    """Time a bundle on pictures and prompts that it has no encodings of.

    `size` is (width, height), None the model's own. The first of the `warmup` pictures, at least one, is timed apart.
    `loading` are arguments of `load`, `options` fields of `Request`; both raise as they do there. `progress` is
    called with every picture.
    """
    for name, value in {"repeats": repeats, "warmup": warmup}.items():
        if value < 1:
            raise InputError(f"{name} must be a whole number of at least 1, not {value!r}")
    start = time.perf_counter()
    pipe = load(model, **(loading or {}))
    loaded = time.perf_counter() - start
    size = size or pipe.bundle.model.default_size
    runs = (_paint(pipe, size, index, options) for index in count())
    warm = _told(islice(runs, warmup), "warm-up", warmup, progress)
    timed = _told(islice(runs, repeats), "picture", repeats, progress)
    result, _ = timed[-1]
    totals = [made.timings["total"] for made, _ in timed]
    return Report(
        pipe.bundle.model.name,
        result.images[0].size,
        len(result.plan),
        repeats,
        result.engines,
        loaded,
        warm[0][0].timings["total"],
        _stages(timed),
        repeats / sum(totals),
        peak_memory(),
    )


def peak_memory() -> int | None:
    """The most memory, in bytes, that this process has held so far; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


_Timed = tuple[Result, list[float]]


def _paint(pipe: Pipeline, size: tuple[int, int], index: int, options: Mapping[str, Any]) -> _Timed:
    """A result, and the seconds of each of its evaluations."""
    width, height = size
    picture = np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)
    run = pipe.start(picture, f"picture {index}", seed=index, **options)
    seconds = [step.seconds for step in run]
    return run.result(), seconds


def _told(runs: Iterable[_Timed], what: str, total: int, progress: Callable[[str], None]) -> list[_Timed]:
    done = []
    for number, run in enumerate(runs, 1):
        progress(f"{what} {number} of {total}: {run[0].timings['total']:.2f} s")
        done.append(run)
    return done


def _stages(timed: list[_Timed]) -> dict[str, Spread]:
    """The spread of every stage, with that of a single evaluation after the stage that is made of them."""
    evaluations = [seconds for _, each in timed for seconds in each]
    stages = {}
    for stage in timed[0][0].timings:
        stages[stage] = Spread.of(result.timings[stage] for result, _ in timed)
        if stage == "denoise" and evaluations:
            stages["one evaluation"] = Spread.of(evaluations)
    return stages
