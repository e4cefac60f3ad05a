"""How long building a bundle's engines takes, and how much memory: `python -m benchmarks.trt_build BUNDLE --write`."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from pathlib import Path

from benchmarks.report import publish, table, writer
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.sizes import Sizes, parse_batch
from overpaint.export.memory import memory_needed
from overpaint.export.tensorrt import build, target
from overpaint.runtime.model.load import find


def main() -> None:
    parser = writer()
    parser.add_argument("bundle")
    parser.add_argument("--profile", default="256-1024")
    parser.add_argument("--batch", default="1-2")
    parser.add_argument("--scratch", type=Path, help="where the engines are kept meanwhile (the system's own place)")
    given = parser.parse_args()
    bundle = Bundle.read(find(given.bundle), verify=False)
    start, rows = time.perf_counter(), []
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        os.environ["OVERPAINT_ENGINES"] = folder
        for made in build(bundle, target("tensorrt_rtx"), [Sizes.parse(given.profile)], parse_batch(given.batch)):
            graph = bundle.graph(made.graph)
            rows.append(
                [
                    f"{made.graph}, {graph.precision}",
                    f"{graph.size / 1e6:.0f}",
                    f"{made.size / 1e6:.0f}",
                    f"{made.seconds:.1f}",
                    f"{peak() / 1e9:.2f}",
                    f"{memory_needed(graph, len(made.profiles)) / 1e9:.1f}",
                ]
            )
    total, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    header = ["graph", "weights, MB", "engine, MB", "s", "peak so far, GB", "predicted, GB"]
    body = f"""{table(header, rows)}

{bundle.model.name}: {total:.0f} s together, {used.ru_utime + used.ru_stime:.0f} s of a CPU; {peak() / 1e9:.2f} GB at
the peak (resident, mapped files included); for pictures of {given.profile} pixels and batches of {given.batch}, without
a GPU, the graphs one after the other."""
    publish("engines", "trt-build", "Building engines", body, "tensorrt-rtx-cu13", write=given.write)


def peak() -> int:
    """The most bytes that this process has had resident."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
