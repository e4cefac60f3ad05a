"""An int8 bundle against the float32 one it was made from: the pictures' difference and each graph's time.

python -m benchmarks.int8 --int8 DIR     # made with: overpaint quantize tiny DIR
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino

import overpaint
from benchmarks.report import in_turn, publish, table, writer
from overpaint.bundles.graph import DENOISER, Range
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.sizes import Sizes, profiles
from overpaint.bundles.tensor import Array
from overpaint.engines.compare import psnr, random_feeds
from overpaint.runtime.diagnostics.calibration import PROMPTS, read_pictures
from overpaint.runtime.model.load import find

Step = Callable[[dict[str, Array]], Any]
EXAMPLES = Path(__file__).parents[1] / "models/examples"


def pictures(model: str, folder: Path, count: int, guidance: float, precision: str | None) -> list[Array]:
    """The pictures of a folder in turn, repainted at strength 0.6 in 20 steps, float64 [height, width, 3]."""
    pipe = overpaint.load(model, precision=precision)
    given, rng = read_pictures(folder), np.random.default_rng(1)
    asked = [PROMPTS[index] for index in rng.permutation(len(PROMPTS))[:count]]
    size = pipe.bundle.model.default_size
    options = {"strength": 0.6, "steps": 20, "guidance_scale": guidance, "size": size}
    return [
        np.asarray(pipe(given[index % len(given)], prompt, seed=index, **options).images[0].convert("RGB"), np.float64)
        for index, prompt in enumerate(asked)
    ]


def lengths(bundle: Bundle, name: str, side: int, rows: int) -> dict[str, int]:
    """Of a graph's axes for a picture whose latents are `side` along an edge; the VAE takes one picture a time."""
    pixels = side * bundle.model.downscale, side * bundle.model.downscale
    usual, *_ = profiles(name, bundle.graph(name), bundle.model, [Sizes(pixels, pixels)], Range(1, 1, 1))
    axes = {axis: span.usual for axis, span in usual.axes.items()}
    return axes | {"rows": rows} if bundle.graph(name).role == DENOISER else axes


def compile_openvino(path: Path, given: dict[str, Array], precision: str) -> tuple[Step, str]:
    """A step at a static shape, and what its convolutions and matrix products run in."""
    core = openvino.Core()
    model = core.read_model(path)
    model.reshape({name: list(array.shape) for name, array in given.items()})
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"})
    kernels = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    heavy = ("Convolution", "FullyConnected")
    counts = Counter(
        info["runtimePrecision"].astype(str) for info in kernels if info["layerType"].astype(str).startswith(heavy)
    )
    request = compiled.create_infer_request()
    return request.infer, ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


def compile_onnxruntime(path: Path) -> Step:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return partial(session.run, None)


def times(source: Bundle, int8: Bundle, name: str, axes: dict[str, int], repeats: int) -> list[tuple[str, ...]]:
    """Rows of the table for a graph at one size."""
    paths = [bundle.folder / bundle.graph(name).file.path for bundle in (source, int8)]
    given = random_feeds(source.graph(name).inputs, axes)
    made = [compile_openvino(paths[0], given, kind) for kind in ("f32", "bf16")]
    made.append(compile_openvino(paths[1], given, "bf16"))
    steps = [*(step for step, _ in made), *map(compile_onnxruntime, paths)]
    engines = ["OpenVINO f32", "OpenVINO bf16", "OpenVINO int8", "ONNX Runtime f32", "ONNX Runtime int8"]
    kernels = [*(kinds for _, kinds in made), "", ""]
    taken = [statistics.median(spent) for spent in in_turn([partial(step, given) for step in steps], repeats)]
    size = " x ".join(map(str, next(iter(given.values())).shape))
    return [
        (name, size, engine, f"{1000 * spent:.1f}", f"{spent / taken[1]:.2f}", kinds)
        for engine, spent, kinds in zip(engines, taken, kernels, strict=True)
    ]


def main() -> None:
    parser = writer()
    parser.add_argument("--model", default="tiny", help="the float32 bundle")
    parser.add_argument("--int8", required=True, help="the int8 bundle that was made from it")
    parser.add_argument("--pictures", type=Path, default=EXAMPLES)
    parser.add_argument("--count", type=int, default=24, help="pictures to repaint; 0 for none")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--sides", type=int, nargs="+", default=(16, 64), help="latents along an edge")
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    given = parser.parse_args()
    source, int8 = (Bundle.read(find(model), verify=False) for model in (given.model, given.int8))
    graphs = [name for name, graph in int8.graphs.items() if graph.precision == "int8"]
    lines = [
        line
        for name in graphs
        for side in given.sides
        for line in times(source, int8, name, lengths(source, name, side, given.rows), given.repeats)
    ]
    header = ("graph", "input", "engine", "median ms", "of OpenVINO bf16", "convolutions and products run in")
    body = table(header, lines)
    if given.count:
        work = given.pictures, given.count, given.guidance
        exact = pictures(given.model, *work, "float32")
        # The float32 bundle in the engine's own precision, bfloat16 on this kind of machine, is what int8 replaces.
        found, usual = (sorted(map(psnr, exact, pictures(model, *work, None))) for model in (given.int8, given.model))
        body += (
            f"\n\nPSNR of {len(found)} pictures (strength 0.6, 20 steps, guidance {given.guidance:g}) against float32: "
            f"median {statistics.median(found):.1f} dB, least {found[0]:.1f} dB, most {found[-1]:.1f} dB. "
            f"The float32 bundle in the engine's usual precision: median {statistics.median(usual):.1f} dB, "
            f"least {usual[0]:.1f} dB."
        )
    origin = int8.model.origin
    made = [f"- {name}: {origin[f'int8 {name}']}" for name in graphs]
    body += "\n".join([f"\n\nint8: {origin['int8']}.", "", *made])
    publish(
        "int8",
        f"int8-{source.model.name}",
        f"int8 of {source.model.name}",
        body,
        "nncf",
        "openvino",
        "onnxruntime",
        write=given.write,
    )


if __name__ == "__main__":
    main()
