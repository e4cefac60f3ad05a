"""A U-Net step of a model too large to be held twice: overpaint, the engine alone and peers, each in its own process.

python -m benchmarks.full_size DIR --family sdxl --keep
python -m benchmarks.large --model DIR/sdxl --checkpoint DIR/sdxl-checkpoint --write
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.adapters.graph import unet
from benchmarks.peers.work import Work
from benchmarks.report import publish, table, writer

OTHERS = {"openvino": ("alone", "openvino-genai", "diffusers"), "onnxruntime": ("alone", "diffusers")}
LAYOUT = "openvino"
PEERS = ("openvino-genai", "diffusers")
ADDED = "text_embeds", "time_ids"
"""The inputs of an SDXL U-Net that are not of every U-Net."""


def main() -> None:
    parser = writer()
    parser.description = __doc__
    parser.add_argument("--model", type=Path, required=True, help="a bundle's folder")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024], help="pixels a side (512 1024)")
    parser.add_argument("--engines", nargs="+", default=list(OTHERS), choices=OTHERS)
    parser.add_argument(
        "--checkpoint", type=Path, help="the model's diffusers folder, for openvino-genai and diffusers"
    )
    parser.add_argument("--rows", type=int, default=2, help="of a step (2)")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each (2)")
    parser.add_argument("--repeats", type=int, default=3, help="steps a process and size, after one more (3)")
    parser.add_argument("--worker", nargs=3, metavar=("ENGINE", "WHO", "SIZE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        engine, who, size = given.worker
        print(json.dumps(_measure(given, engine, who, int(size))))
        return
    if given.checkpoint and "openvino" in given.engines:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.peers.large_layout", given.checkpoint, given.checkpoint / LAYOUT],
            check=True,
        )
    rows = [row for engine in given.engines for size in given.sizes for row in _rows(given, engine, size)]
    header = (
        "engine",
        "pixels a side",
        "beside",
        "overpaint, s",
        "other, s",
        "ratio",
        "of CPU seconds",
        "peak GB",
        "other",
    )
    body = (
        f"{table(header, rows)}\n\nA call of {given.rows} rows: the best of {given.repeats} a process, the median of "
        f"{given.rounds} processes each, in turn. Every output was finite. OpenVINO, openvino-genai and diffusers "
        "beside them are in bfloat16 and static shapes, ONNX Runtime and diffusers beside it in float32. Memory is the "
        "whole process', mapped files included: overpaint's has the text encoders and the VAE too. The load "
        f"average was {os.getloadavg()[1]:.1f} at the end."
    )
    name, packages = given.model.name, [*given.engines, *(PEERS if given.checkpoint else ())]
    where = "-".join(given.engines)
    publish(
        "sdxl",
        f"large-{name}-{where}",
        f"A step of {name} beside others, {' and '.join(given.engines)}",
        body,
        *packages,
        write=given.write,
    )


def _rows(given: argparse.Namespace, engine: str, size: int) -> Iterator[tuple[str, ...]]:
    """Seconds and memory on an engine at a size, beside each other that runs it."""
    others = [who for who in OTHERS[engine] if given.checkpoint or who not in PEERS]
    found: dict[str, list[dict[str, float]]] = {who: [] for who in ("overpaint", *others)}
    for number in range(given.rounds):
        for who in list(found)[:: -1 if number % 2 else 1]:
            command = [sys.executable, "-m", "benchmarks.large", *sys.argv[1:], "--worker", engine, who, str(size)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[who].append(json.loads(done.stdout.splitlines()[-1]))
            print(engine, size, who, found[who][-1], file=sys.stderr, flush=True)
    middle = {who: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for who, runs in found.items()}
    mine = middle["overpaint"]
    for who in others:
        other = middle[who]
        ratios = (f"{mine[key] / other[key]:.3f}" for key in ("seconds", "cpu"))
        peaks = (f"{each['peak']:.1f}" for each in (mine, other))
        yield (engine, str(size), who, f"{mine['seconds']:.2f}", f"{other['seconds']:.2f}", *ratios, *peaks)


def _measure(given: argparse.Namespace, engine: str, who: str, size: int) -> dict[str, float]:
    """The best seconds of a step, of the clock and of all cores, and the peak memory of this process in GB."""
    step = STEPS[engine, who](given, size)
    feeds = unet(given.model, Work("", size, 1, 1.0, 7.5, 0, 1, 1), given.rows)[1]
    times, work = [], []
    for _ in range(given.repeats + 1):
        start, before = time.perf_counter(), time.process_time()
        made = step(feeds)
        times.append(time.perf_counter() - start)
        work.append(time.process_time() - before)
        if not np.isfinite(made).all():
            raise SystemExit(f"{engine}, {who}, {size}: the output is not finite")
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


def _genai(given: argparse.Namespace, size: int) -> Step:
    import openvino as ov
    import openvino_genai as genai

    model = genai.UNet2DConditionModel(given.checkpoint / LAYOUT / "unet")
    _, arrays = unet(given.model, Work("", size, 1, 1.0, 7.5, 0, 1, 1), given.rows)
    model.reshape(given.rows, size, size, arrays["encoder_hidden_states"].shape[1])
    model.compile("CPU", INFERENCE_PRECISION_HINT="bf16", PERFORMANCE_HINT="LATENCY")

    def step(feeds: dict[str, Any]) -> Any:
        for name in ("encoder_hidden_states", *ADDED):
            model.set_hidden_states(name, ov.Tensor(feeds[name]))
        timestep = ov.Tensor(feeds["timestep"][:1].astype(np.int64))
        return model.infer(ov.Tensor(feeds["sample"]), timestep).data

    return step


def _diffusers(dtype: str) -> Callable[[argparse.Namespace, int], Step]:
    def load(given: argparse.Namespace, size: int) -> Step:
        import torch
        from diffusers import UNet2DConditionModel

        kind = getattr(torch, dtype)
        model = UNet2DConditionModel.from_pretrained(given.checkpoint / "unet", torch_dtype=kind).eval()

        @torch.no_grad()
        def step(feeds: dict[str, Any]) -> Any:
            tensors = {name: torch.from_numpy(array).to(kind) for name, array in feeds.items()}
            added = {name: tensors[name] for name in ADDED}
            made = model(
                tensors["sample"], tensors["timestep"], tensors["encoder_hidden_states"], added_cond_kwargs=added
            )
            return made.sample.float().numpy()

        return step

    return load


STEPS: dict[tuple[str, str], Callable[[argparse.Namespace, int], Step]] = {
    ("openvino", "overpaint"): _overpaint("openvino", precision="bfloat16", shapes="static"),
    ("openvino", "alone"): _openvino,
    ("openvino", "openvino-genai"): _genai,
    ("openvino", "diffusers"): _diffusers("bfloat16"),
    ("onnxruntime", "overpaint"): _overpaint("onnxruntime"),
    ("onnxruntime", "alone"): _onnxruntime,
    ("onnxruntime", "diffusers"): _diffusers("float32"),
}


if __name__ == "__main__":
    main()
