"""Tiled upscaling in joint tiles: the engines' share of the time, tiles in batches, and memory by the picture's height.

python -m benchmarks.upscale --write
python -m benchmarks.upscale --width 512 --heights 512 2048    # a quick look
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

import overpaint
from benchmarks.report import publish, table, writer
from benchmarks.steps import Timed
from overpaint.runtime.conditioning.conditioning import TEXT
from overpaint.runtime.conditioning.prompt.tree import Phrase
from overpaint.runtime.denoising.denoiser import SAMPLE, TIMESTEP, Denoiser
from overpaint.runtime.denoising.rows import Row
from overpaint.runtime.diagnostics.bench import peak_memory

MB = 1e6
# Of one pixel: the enlarged picture and the result, as arrays (3 bytes each) and for Pillow (4).
PICTURES = 10
# Arrays of the latents' size that a line of DDIM needs: x before and after it, what the model is shown and answers, the
# clean latents it means before and after.
LATENTS = 6
BATCHES = (1, 4, 16)


def upscale(model: str, width: int, height: int, given: argparse.Namespace) -> dict[str, Any]:
    """One upscale in this process: its seconds, those within the engines, and the most memory."""
    pipe = overpaint.load(model, shapes="static")
    pipe.denoiser.engine = Timed(pipe.denoiser.engine)
    pipe.vae.encoder, pipe.vae.decoder = Timed(pipe.vae.encoder), Timed(pipe.vae.decoder)
    pipe.text.engine = Timed(pipe.text.engine)
    small = np.random.default_rng(0).integers(96, 160, (height // given.scale, width // given.scale, 3), np.uint8)
    loaded = peak_memory() or 0
    start = time.perf_counter()
    options = {"steps": given.steps, "strength": given.strength, "guidance_scale": given.guidance, "tile": given.tile}
    made = pipe.upscale(small, "a picture", scale=given.scale, seed=1, **options)
    total = time.perf_counter() - start
    engines = sum(engine.seconds for engine in pipe.engines.values())
    facts = pipe.bundle.model
    return {
        "size": f"{width} x {height}",
        "seconds": total,
        "engines": engines,
        "timings": dict(made.timings),
        "loaded": loaded,
        "peak": peak_memory() or 0,
        "pictures": PICTURES * width * height,
        "latents": LATENTS * 4 * facts.latent_channels * width * height // facts.downscale**2,
    }


def apart(width: int, height: int) -> dict[str, Any]:
    """`upscale` in a process of its own, with this one's options."""
    command = [sys.executable, "-m", "benchmarks.upscale", *sys.argv[1:], "--worker", str(width), str(height)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def batches(model: str, tile: int, repeats: int) -> list[tuple[int, float]]:
    """Seconds a tile of the U-Net, by how many go into a call."""
    pipe = overpaint.load(model, shapes="static")
    side, channels = tile // pipe.bundle.model.downscale, pipe.bundle.model.sample_channels
    rng = np.random.default_rng(0)
    embedding = pipe.text.encode(Phrase.plain("a picture"), 0, "a1111")[0]
    rows = [
        Row({SAMPLE: sample.astype(np.float32), TIMESTEP: np.array([500], np.float32), TEXT: embedding})
        for sample in rng.normal(size=(max(BATCHES), channels, side, side))
    ]
    found = []
    for batch in BATCHES:
        denoiser = Denoiser(pipe.denoiser.engine, batch, 2**30)
        denoiser(rows)
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            denoiser(rows)
            seconds.append((time.perf_counter() - start) / len(rows))
        found.append((batch, statistics.median(seconds)))
    return found


def main() -> None:
    parser = writer()
    parser.description = __doc__
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--heights", type=int, nargs=2, default=(2048, 8192))
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--tile", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--strength", type=float, default=0.3)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--worker", type=int, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(upscale(given.model, *given.worker, given)))
        return
    runs = [apart(given.width, height) for height in given.heights]
    tiles = batches(given.model, given.tile, given.repeats)
    header = ("picture", "s", "within the engines, s", "%", "peak, MB", "pictures, MB", "latents, MB", "the rest, MB")
    rests = [run["peak"] - run["pictures"] - run["latents"] for run in runs]
    rows = [
        (
            run["size"],
            f"{run['seconds']:.1f}",
            f"{run['engines']:.1f}",
            f"{100 * run['engines'] / run['seconds']:.1f}",
            *(f"{run[name] / MB:.0f}" for name in ("peak", "pictures", "latents")),
            f"{rest / MB:.0f}",
        )
        for run, rest in zip(runs, rests, strict=True)
    ]
    alone = tiles[0][1]
    calls = [(batch, f"{1000 * seconds:.2f}", f"{seconds / alone:.3f}") for batch, seconds in tiles]
    share, growth = runs[0]["engines"] / runs[0]["seconds"], rests[1] / rests[0]
    targets = [
        ("engine time, % of the whole", ">= 95", f"{100 * share:.1f}", told(share >= 0.95)),
        ("a tile in the largest batch to one alone", "<= 1", f"{calls[-1][2]}", told(tiles[-1][1] <= alone)),
        ("memory beyond pictures and latents, tall to square", "<= 1.1", f"{growth:.3f}", told(growth <= 1.1)),
    ]
    body = "\n\n".join(
        (
            f"Tiles of {given.tile} px, {given.scale} times, {given.steps} steps at strength {given.strength}, "
            f"guidance {given.guidance:g}. Pictures are {PICTURES} bytes a pixel (the enlarged one and the result, as "
            f"arrays and for Pillow), latents {LATENTS} arrays of theirs.",
            table(header, rows),
            table(("tiles a call", "ms a tile", "to one alone"), calls),
            table(("what", "target", "measured", "reached"), targets),
        )
    )
    title = f"Upscaling in joint tiles, {given.model}, {given.width} px wide"
    publish("editing", f"upscale-{given.width}", title, body, "openvino", "numpy", write=given.write)


def told(reached: bool) -> str:
    return "yes" if reached else "no"


if __name__ == "__main__":
    main()
