"""What runs came to, as rows of tables."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, median

import numpy as np

from .drive import Run

HEADER = (
    "load",
    "way",
    "jobs a second",
    "p50, s",
    "p95",
    "p99",
    "short: p95",
    "first step: p50, s",
    "p95",
    "first preview: p50, s",
    "p95",
    "passes missed: p99",
    "most",
    "rows a call",
)


def quantile(values: Sequence[float], share: float) -> float:
    """That of values; NaN of none."""
    return float(np.quantile(values, share)) if len(values) else float("nan")


def seconds(run: Run) -> list[float]:
    """Of every job, from its arrival to its end."""
    return [record.seconds for record in run.records]


def short_seconds(run: Run) -> list[float]:
    """The same of short jobs."""
    return [record.seconds for record in run.records if record.item.short]


def previews(run: Run) -> list[float]:
    """Of those that were watched and had a preview, from the arrival to the first."""
    return [record.preview - record.arrived for record in run.records if record.preview is not None]


def row(load: str, run: Run) -> list[str]:
    """A row under `HEADER`."""
    shown = [
        run.throughput,
        *(quantile(seconds(run), share) for share in (0.5, 0.95, 0.99)),
        quantile(short_seconds(run), 0.95),
        *(quantile(run.first_steps, share) for share in (0.5, 0.95)),
        *(quantile(previews(run), share) for share in (0.5, 0.95)),
    ]
    missed = [f"{quantile(run.waits, 0.99):.0f}", str(max(run.waits))]
    return [load, run.way, *(f"{value:.3g}" for value in shown), *missed, f"{mean(run.rows):.1f}"]


def ratios(runs: Sequence[Sequence[Run]], other: int) -> float:
    """The median ratio of the throughput of the first of each group to that of another."""
    return median(group[0].throughput / group[other].throughput for group in runs)


def prompt(run: Run, most: int) -> tuple[int, int]:
    """How many came when fewer than `most` were there, and how many of those missed at most one pass."""
    ends = sorted(record.ended for record in run.records)
    come = sorted(record.arrived for record in run.records)
    there = [np.searchsorted(come, record.arrived) - np.searchsorted(ends, record.arrived) for record in run.records]
    own = [wait for wait, others in zip(run.waits, there, strict=True) if others < most]
    return len(own), sum(wait <= 1 for wait in own)
