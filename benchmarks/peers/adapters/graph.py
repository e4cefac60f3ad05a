"""A bundle's U-Net graph as it is, for what runs it without overpaint."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.work import Work
from overpaint.bundles.graph import DENOISER
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.tensor import Array
from overpaint.engines.compare import random_feeds


def unet(folder: Path, work: Work, rows: int) -> tuple[Path, dict[str, Array]]:
    """Its file, and its inputs at the size of the work."""
    bundle = Bundle.read(folder, verify=False)
    graph = bundle.by_role(DENOISER)
    side, tokens = work.size // bundle.model.downscale, graph.ranges["tokens"].usual
    lengths = {"rows": rows, "height": side, "width": side, "tokens": tokens}
    return bundle.folder / graph.file.path, random_feeds(graph.inputs, lengths)
