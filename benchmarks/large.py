"""A U-Net step of a model too large to be held twice: by overpaint and by the engine alone, each in its own process.

python -m benchmarks.large --model DIR/sdxl --write
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.adapters.graph import unet
from benchmarks.peers.work import Work
from benchmarks.report import publish, table, writer

ENGINES = ("openvino", "onnxruntime")
KINDS = ("overpaint", "alone")


def main() -> None:
    parser = writer()
    parser.description = __doc__
    parser.add_argument("--model", type=Path, required=True, help="a bundle's folder")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024], help="pixels a side (512 1024)")
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=ENGINES)
    parser.add_argument("--rows", type=int, default=2, help="of a step (2)")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each (2)")
    parser.add_argument("--repeats", type=int, default=3, help="steps a process and size, after one more (3)")
    parser.add_argument("--worker", nargs=3, metavar=("ENGINE", "KIND", "SIZE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        engine, kind, size = given.worker
        print(json.dumps(_measure(given, engine, kind, int(size))))
        return
    rows = [_row(given, engine, size) for engine in given.engines for size in given.sizes]
    header = (
        "engine",
        "pixels a side",
        "overpaint, s",
        "alone, s",
        "ratio",
        "of CPU seconds",
        "peak GB, overpaint",
        "alone",
    )
    body = (
        f"{table(header, rows)}\n\nA call of {given.rows} rows: the best of {given.repeats} a process, the median of "
        f"{given.rounds} processes each, in turn. Every output was finite. OpenVINO in bfloat16 with static shapes, "
        "ONNX Runtime in float32. Memory is the whole process': overpaint's has the text encoders and the VAE too. The "
        f"load average was {os.getloadavg()[1]:.1f} at the end."
    )
    name = given.model.name
    publish("sdxl", f"large-{name}", f"A step of {name}, beside its engines alone", body, *ENGINES, write=given.write)


def _row(given: argparse.Namespace, engine: str, size: int) -> tuple[str, ...]:
    """Seconds and memory of an engine at a size."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for number in range(given.rounds):
        for kind in KINDS[:: -1 if number % 2 else 1]:
            command = [sys.executable, "-m", "benchmarks.large", *sys.argv[1:], "--worker", engine, kind, str(size)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[kind].append(json.loads(done.stdout.splitlines()[-1]))
            print(engine, size, kind, found[kind][-1], file=sys.stderr, flush=True)
    mine, theirs = (statistics.median(run["seconds"] for run in found[kind]) for kind in KINDS)
    peaks = (f"{max(run['peak'] for run in found[kind]):.1f}" for kind in KINDS)
    own, other = (statistics.median(run["cpu"] for run in found[kind]) for kind in KINDS)
    ratios = (f"{mine / theirs:.3f}", f"{own / other:.3f}")
    return (engine, str(size), f"{mine:.2f}", f"{theirs:.2f}", *ratios, *peaks)


def _measure(given: argparse.Namespace, engine: str, kind: str, size: int) -> dict[str, float]:
    """The best seconds of a step, of the clock and of all cores, and the peak memory of this process in GB."""
    step = STEPS[engine, kind](given, size)
    feeds = unet(given.model, Work("", size, 1, 1.0, 7.5, 0, 1, 1), given.rows)[1]
    times, work = [], []
    for _ in range(given.repeats + 1):
        start, before = time.perf_counter(), time.process_time()
        made = step(feeds)
        times.append(time.perf_counter() - start)
        work.append(time.process_time() - before)
        if not np.isfinite(made).all():
            raise SystemExit(f"{engine}, {kind}, {size}: the output is not finite")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"seconds": min(times[1:]), "cpu": min(work[1:]), "peak": peak}


Step = Callable[[dict[str, Any]], Any]


def _overpaint(engine: str, **options: Any) -> Callable[[argparse.Namespace, int], Step]:
    def load(given: argparse.Namespace, size: int) -> Step:
        import overpaint
        from overpaint.runtime.denoising.rows import Row

        area = given.rows * size**2
        pipe = overpaint.load(given.model, engine=engine, max_area=area, verify=False, **options)

        def step(feeds: dict[str, Any]) -> Any:
            each = [{name: array[row] for name, array in feeds.items()} for row in range(given.rows)]
            rows = [Row({**own, "timestep": own["timestep"].reshape(1)}) for own in each]
            return np.stack([made["model_output"] for made in pipe.denoiser(rows)])

        return step

    return load


def _openvino(given: argparse.Namespace, size: int) -> Step:
    import openvino as ov

    path, arrays = unet(given.model, Work("", size, 1, 1.0, 7.5, 0, 1, 1), given.rows)
    core = ov.Core()
    model = core.read_model(path)
    model.reshape({name: array.shape for name, array in arrays.items()})
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    del model
    return lambda feeds: next(iter(request.infer(feeds, share_inputs=True).values()))


def _onnxruntime(given: argparse.Namespace, size: int) -> Step:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.enable_cpu_mem_arena = False
    session = ort.InferenceSession(given.model / "unet.onnx", options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)[0]


STEPS: dict[tuple[str, str], Callable[[argparse.Namespace, int], Step]] = {
    ("openvino", "overpaint"): _overpaint("openvino", precision="bfloat16", shapes="static"),
    ("openvino", "alone"): _openvino,
    ("onnxruntime", "overpaint"): _overpaint("onnxruntime"),
    ("onnxruntime", "alone"): _onnxruntime,
}


if __name__ == "__main__":
    main()
