"""The demo picture from a cold start: a new process, load included."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import publish, table, writer


def main() -> None:
    parser = writer()
    parser.add_argument("--image", default="models/examples/fox.png")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "overpaint", "img2img", given.image, "fox, ink style"]
        command += ["-o", str(Path(folder) / "out.png"), "--steps", "20", "--seed", "7", "--overwrite"]
        seconds = [timed(command) for _ in range(given.repeats)]
        helping = [timed([sys.executable, "-m", "overpaint", "--help"]) for _ in range(given.repeats)]
    rows = [
        ("img2img, 20 steps, process start to picture on disk, median s", f"{statistics.median(seconds):.2f}"),
        ("--help, median s", f"{statistics.median(helping):.3f}"),
    ]
    publish("tiny", "cold", "From a cold start", table(("what", "value"), rows), "onnxruntime", write=given.write)


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
