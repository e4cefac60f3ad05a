"""What inpainting a small mask costs: only masked, for pictures of growing size; and whole, beside it."""

from __future__ import annotations

import statistics
import time

import numpy as np

import overpaint
from benchmarks.report import publish, table, writer
from overpaint.bundles.tensor import Array

SIDES = (64, 256, 1024, 4096)
WHOLE = 256
MASK = 40
PADDING = 12


def picture(side: int, seed: int) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def mask(side: int) -> Array:
    """A square of `MASK` pixels in the middle."""
    levels = np.zeros((side, side), np.uint8)
    start = (side - MASK) // 2
    levels[start : start + MASK, start : start + MASK] = 255
    return levels


class Case:
    """A picture of a size, and what inpainting it took: seconds of the whole calls, and of their runs alone."""

    def __init__(self, side: int, only_masked: bool) -> None:
        self.side, self.mask = side, mask(side)
        self.name = f"{side} x {side}, {'only masked' if only_masked else 'whole'}"
        self.options = {"only_masked": only_masked, "padding": PADDING, "strength": 1.0}
        self.calls: list[float] = []
        self.runs: list[float] = []
        self.size = (0, 0)

    def measure(self, pipe: overpaint.Pipeline, steps: int) -> None:
        # Another picture every time, so that no encoding is remembered.
        image = overpaint.read(picture(self.side, len(self.calls)))
        start = time.perf_counter()
        made = pipe.inpaint(image, self.mask, "a picture", steps=steps, seed=0, **self.options)
        self.calls.append(time.perf_counter() - start)
        self.runs.append(made.timings["total"])
        self.size = made.outputs[0].request.image.size


def main() -> None:
    parser = writer()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    pipe = overpaint.load(given.model)
    cases = [*(Case(side, True) for side in SIDES), Case(WHOLE, False)]
    # In turns, so that what else the machine does meets all; the first turn warms up.
    for _ in range(given.repeats + 1):
        for case in cases:
            case.measure(pipe, given.steps)
    runs = [statistics.median(case.runs[1:]) for case in cases]
    calls = [statistics.median(case.calls[1:]) for case in cases]
    rows = [
        (
            case.name,
            f"{case.size[0]} x {case.size[1]}",
            f"{run:.3f}",
            f"{run / runs[0]:.2f}",
            f"{call:.3f}",
            f"{call / calls[0]:.2f}",
        )
        for case, run, call in zip(cases, runs, calls, strict=True)
    ]
    header = ("picture", "the model works at", "run, s", "x", "with cropping, pasting and the proof, s", "x")
    title = f"Inpainting a mask of {MASK} x {MASK} pixels with {given.model}, {given.steps} steps"
    publish("editing", "inpaint", title, table(header, rows), "onnxruntime", "numpy", "pillow", write=given.write)


if __name__ == "__main__":
    main()
