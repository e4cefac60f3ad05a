"""The figures as a bar chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from .peer import OURS

COLOURS = {True: "#c2410c", False: "#94a3b8"}
Bar = tuple[str, float, float]  # label, seconds a picture, MB


def draw(path: Path, title: str, bars: Sequence[Bar]) -> None:
    """Seconds a picture and peak memory, the fastest on top."""
    ordered = sorted(bars, key=lambda bar: bar[1], reverse=True)
    labels = [label for label, _, _ in ordered]
    colours = [COLOURS[label.startswith(OURS)] for label in labels]
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 1.4 + 0.34 * len(bars)), sharey=True, layout="constrained")
    columns = (
        ("seconds a picture", [bar[1] for bar in ordered], "%.2f"),
        ("peak memory, MB", [bar[2] for bar in ordered], "%.0f"),
    )
    for panel, (name, values, form) in zip(panels, columns, strict=True):
        panel.bar_label(panel.barh(labels, values, color=colours), fmt=form, padding=3, fontsize=8)
        panel.set_xlabel(name)
        panel.margins(x=0.12)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
