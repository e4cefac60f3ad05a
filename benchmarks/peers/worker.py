"""One peer in a process of its own: `python -m benchmarks.peers.worker '{"do": "prepare" or "measure", ...}'`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.peers.work import Loaded, Work
from benchmarks.report import ask_gpu

Figures = dict[str, list[float]]
# On a GPU the first call compiles or looks for kernels, and the second may be recorded as a graph.
WARMUP = 3


def main() -> None:
    task = json.loads(sys.argv[1])
    adapter = import_module(f"benchmarks.peers.adapters.{task['adapter']}")
    folder, options = Path(task["folder"]), task["options"]
    if task["do"] == "prepare":
        adapter.prepare(Path(task["checkpoint"]), folder, **options)
        return
    work = Work(**task["work"])
    on_gpu = options.get("device") == "cuda"
    before = _gpu_memory() if on_gpu else 0.0
    loaded = adapter.load(folder, work, **options)
    figures = _pictures(loaded, work, task["spawned"], Path(task["first"]), on_gpu) if loaded.paint else {}
    # What a stage alone takes comes on top of the pipeline's own buffers, so memory is read before.
    figures |= {"memory": [_gpu_memory() - before if on_gpu else _peak()]} if loaded.paint else {}
    figures |= {name: _stage(call, loaded.wait, work.stage_repeats) for name, call in loaded.stages.items()}
    figures |= {name: [value] for name, value in loaded.facts.items()}
    Path(task["figures"]).write_text(json.dumps(figures))


def _pictures(loaded: Loaded, work: Work, spawned: float, first: Path, on_gpu: bool) -> Figures:
    paint: Any = loaded.paint
    paint(work.picture(0), work.prompt(0), 0).save(first)
    figures = {"cold": [time.monotonic() - spawned]}
    for index in range(1, work.warmup + 1):
        paint(work.picture(index), work.prompt(index), index)
    indices = range(work.warmup + 1, work.warmup + 1 + work.repeats)
    figures["picture"] = [_seconds(paint, work.picture(index), work.prompt(index), index) for index in indices]
    if loaded.remembers:
        known = work.picture(indices[-1])
        figures["again"] = [_seconds(paint, known, work.prompt(-index), index) for index in indices]
    if on_gpu:  # as a camera's; on a CPU a prompt takes next to nothing
        kept = work.prompt(indices[-1])
        figures["frame"] = [_seconds(paint, work.picture(-index), kept, index) for index in indices]
    return figures


def _stage(call: Callable[[], object], wait: Callable[[], object] | None, repeats: int) -> list[float]:
    def done() -> None:
        call()
        if wait:
            wait()

    for _ in range(WARMUP if wait else 1):
        done()
    return [_seconds(done) for _ in range(repeats)]


def _peak() -> float:
    """Megabytes. Not `getrusage`, whose peak is the parent's where that was larger when it started this process."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e6


def _gpu_memory() -> float:
    """Megabytes of the first GPU that are in use, by whomever: nothing else should run there."""
    return int(ask_gpu("memory.used")[0]) * 2**20 / 1e6


def _seconds(call: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
