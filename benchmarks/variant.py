"""ONNX Runtime on the CPU: a U-Net as exported against its optimized graph with fused attention, call by call."""

from __future__ import annotations

import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.report import in_turn, publish, table, writer
from overpaint.bundles.graph import DENOISER
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.tensor import Array
from overpaint.engines.compare import random_feeds
from overpaint.engines.ort.cpu import OrtEngine
from overpaint.engines.ort.engine import optimized_graph
from overpaint.engines.registry import EngineOptions
from overpaint.runtime.model.load import find

KINDS = ("as exported", "variant")


def engine(bundle: Bundle, kind: str) -> OrtEngine:
    graph = bundle.by_role(DENOISER)
    source = bundle.folder / graph.file.path
    name = bundle.name_of(DENOISER)
    path = source if kind == KINDS[0] else optimized_graph(name, graph, bundle.folder, "cpu")
    assert path, "build the optimized graph first"
    return OrtEngine(name, graph, path, bundle.folder, EngineOptions())


def feeds(bundle: Bundle, pixels: int, rows: int) -> dict[str, Array]:
    graph = bundle.by_role(DENOISER)
    side = pixels // bundle.model.downscale
    tokens = graph.ranges["tokens"].usual
    return random_feeds(graph.inputs, {"rows": rows, "height": side, "width": side, "tokens": tokens})


def seconds(bundle: Bundle, pixels: int, repeats: int) -> list[float]:
    given = feeds(bundle, pixels, 2)
    calls = [partial(engine(bundle, kind), given) for kind in KINDS]
    return [statistics.median(spent) for spent in in_turn(calls, repeats)]


def peak(bundle: Bundle, pixels: int, kind: str) -> float:
    """The MB that one row adds to the peak of a process that has loaded the graph."""
    opened, given = engine(bundle, kind), feeds(bundle, pixels, 1)
    before = _highest()
    opened(given)
    return _highest() - before


def _highest() -> float:
    """This process's highest resident memory in MB; getrusage would give its parent's, where that was higher."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    parser = writer()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 512])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--peak", choices=KINDS, help="print the peak of the first size, in MB, and nothing else")
    given = parser.parse_args()
    bundle = Bundle.read(find(given.model), verify=False)
    if given.peak:
        print(peak(bundle, given.sizes[0], given.peak))
        return
    rows = []
    for size in given.sizes:
        exported, fused = seconds(bundle, size, given.repeats)
        command = [sys.executable, "-m", "benchmarks.variant", "--model", given.model, "--sizes", str(size), "--peak"]
        peaks = [float(subprocess.check_output([*command, kind], text=True)) for kind in KINDS]
        ratio = f"{fused / exported:.2f}"
        rows.append((f"{size} x {size}", f"{exported:.4f}", f"{fused:.4f}", ratio, *(f"{most:.0f}" for most in peaks)))
    name = Path(given.model).name
    header = ("pixels", "s as exported", "s variant", "ratio", "MB as exported", "MB variant")
    title = f"Fused attention on ONNX Runtime: the U-Net of {name}, 2 rows (memory: what 1 row adds at its peak)"
    publish("engines", f"variant-{name}", title, table(header, rows), "onnxruntime", "numpy", write=given.write)


if __name__ == "__main__":
    main()
