"""Latencies over the load, a line for each way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from .drive import Run
from .figures import quantile, seconds, short_seconds

COLOURS = ("#c2410c", "#475569", "#0891b2", "#65a30d")


def draw(path: Path, title: str, loads: Sequence[float], runs: Mapping[str, Sequence[Run]]) -> None:
    """The median and the 95th percentile of all jobs, and the latter of short ones, in seconds."""
    panels_of = (
        ("all jobs, median", lambda run: quantile(seconds(run), 0.5)),
        ("all jobs, p95", lambda run: quantile(seconds(run), 0.95)),
        ("short jobs, p95", lambda run: quantile(short_seconds(run), 0.95)),
    )
    figure, panels = pyplot.subplots(1, 3, figsize=(12, 4), sharey=True, layout="constrained")
    for panel, (name, value) in zip(panels, panels_of, strict=True):
        for (way, those), colour in zip(runs.items(), COLOURS, strict=False):
            panel.plot([100 * load for load in loads], list(map(value, those)), marker="o", color=colour, label=way)
        panel.set(
            title=name, xlabel="load, % of overpaint's capacity", yscale="log", xticks=[100 * each for each in loads]
        )
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("seconds from arrival to end")
    panels[0].legend(frameon=False)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
