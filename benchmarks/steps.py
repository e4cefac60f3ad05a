"""Time outside the engines, time a stage and peak memory of one img2img run of a bundle."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import overpaint
from benchmarks.report import publish, table, writer
from overpaint.bundles.tensor import Array
from overpaint.engines.base import Engine
from overpaint.engines.wrapper import Wrapper
from overpaint.runtime.diagnostics.bench import peak_memory


class Timed(Wrapper):
    """Adds up the seconds spent in an engine."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.seconds = 0.0

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        start = time.perf_counter()
        try:
            return super().__call__(feeds)
        finally:
            self.seconds += time.perf_counter() - start


def measure(model: str, size: int, steps: int) -> list[tuple[str, Any]]:
    pipe = overpaint.load(model)
    unet = pipe.denoiser.engine = Timed(pipe.denoiser.engine)
    picture = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    run = pipe.start(picture, "a picture", strength=1.0, steps=steps, seed=1, convention="diffusers")
    inside, outside, taken = [], [], iter(run)
    next(taken)  # with the encodings
    before, start = unet.seconds, time.perf_counter()
    for _ in taken:
        spent, before = unet.seconds - before, unet.seconds
        inside.append(spent)
        outside.append(time.perf_counter() - start - spent)
        start = time.perf_counter()
    timings = run.result().timings
    weights = sum(graph.size for graph in pipe.bundle.graphs.values()) / 1e9
    peak = (peak_memory() or 0) / 1e9
    engine, rest = statistics.median(inside), statistics.median(outside)
    return [
        ("U-Net engine, median s a step", f"{engine:.4f}"),
        ("outside the engines, median ms a step", f"{1000 * rest:.3f}"),
        ("outside the engines, % of a step", f"{100 * rest / (engine + rest):.3f}"),
        *((f"{stage}, s", f"{timings[stage]:.3f}") for stage in ("text", "encode", "denoise", "decode")),
        ("weights on disk, GB", f"{weights:.3f}"),
        ("peak resident memory, GB", f"{peak:.3f}"),
        ("peak less weights, GB", f"{peak - weights:.3f}"),
    ]


def main() -> None:
    parser = writer()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    rows = measure(given.model, given.size, given.steps)
    name = Path(given.model).name
    title = f"One run of {name}, {given.size} x {given.size}, guidance on"
    publish(
        "cpu",
        f"steps-{name}-{given.size}",
        title,
        table(("what", "value"), rows),
        "onnxruntime",
        "numpy",
        write=given.write,
    )


if __name__ == "__main__":
    main()
