"""A bundle's U-Net graph as it is, for what runs it without overpaint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.work import Work
from overpaint.engines.bundle import Bundle


def unet(folder: Path, work: Work, rows: int) -> tuple[Path, dict[str, NDArray[np.float32]]]:
    """Its file, and its inputs at the size of the work."""
    bundle = Bundle.read(folder, verify=False)
    graph = bundle.graph("unet")
    side, tokens = work.size // bundle.model.downscale, graph.ranges["tokens"].usual
    lengths = {"rows": rows, "height": side, "width": side, "tokens": tokens}
    shapes = {
        spec.name: [lengths[axis] if isinstance(axis, str) else axis for axis in spec.axes] for spec in graph.inputs
    }
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return bundle.folder / graph.file.path, arrays
