"""Memory over many sizes: one process repaints pictures of random sizes, and its resident memory is read after each."""

from __future__ import annotations

import math
import os
import random
import statistics
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import overpaint
from benchmarks.report import RESULTS, figure, publish, table, writer

UNIT = 8
SETTLED = 50


def main() -> None:
    parser = writer()
    parser.description = __doc__
    parser.add_argument("--model", default="tiny", help="a bundle (tiny)")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--runs", type=int, default=350)
    parser.add_argument("--least", type=int, default=32, metavar="PIXELS", help="the shortest side (32)")
    parser.add_argument("--most", type=int, default=160, metavar="PIXELS", help="the longest side (160)")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--plot", type=Path, default=RESULTS / "memory.png")
    given = parser.parse_args()
    with overpaint.load(given.model, engine=given.engine) as pipe:
        measured = resident(pipe, given.runs, (given.least, given.most), given.steps)
    sizes = len(set(sizes_of(given.runs, (given.least, given.most))))
    settled = measured[SETTLED:] or measured
    rows = [
        (index, f"{measured[index - 1]:.0f}") for index in (1, 10, SETTLED, 100, 200, given.runs) if index <= given.runs
    ]
    body = (
        table(("after so many runs", "resident memory, MB"), rows)
        + f"\n\n{given.runs} runs of {given.steps} steps with guidance, {sizes} sizes from {given.least} to "
        f"{given.most} pixels a side. From the {SETTLED} runs after the first {SETTLED} to the last {SETTLED} "
        f"its median grows by {growth(measured):.0f} MB; after the first {SETTLED} it lies "
        f"between {min(settled):.0f} and {max(settled):.0f} MB."
    )
    if given.write:
        plot(measured, given.plot, given.engine)
        body += "\n\n" + figure("resident memory over runs of random sizes", given.plot)
    title = f"Memory over many sizes: {given.model} on {given.engine}"
    publish("engines", "memory", title, body, given.engine, write=given.write)


def sizes_of(runs: int, sides: tuple[int, int]) -> list[tuple[int, int]]:
    """Random (width, height), the same ones each time."""
    draw = random.Random(0)
    return [
        (draw.randint(*(side // UNIT for side in sides)) * UNIT, draw.randint(*(side // UNIT for side in sides)) * UNIT)
        for _ in range(runs)
    ]


def resident(pipe: overpaint.Pipeline, runs: int, sides: tuple[int, int], steps: int) -> list[float]:
    """The MB that the process holds after each run of another random size."""
    measured = []
    for seed, (width, height) in enumerate(sizes_of(runs, sides)):
        picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        pipe(picture, "a fox", seed=seed, steps=steps, strength=1.0)
        measured.append(held())
    return measured


def growth(measured: list[float]) -> float:
    """By how many MB the median grows from the runs after the first `SETTLED` to the last ones, as many each."""
    return statistics.median(measured[-SETTLED:]) - statistics.median(measured[SETTLED : 2 * SETTLED] or measured)


def held() -> float:
    """The resident memory of this process in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def plot(measured: list[float], path: Path, engine: str) -> None:
    """Draw memory over runs, from zero."""
    width, height, left, bottom, top = 600, 240, 60, 30, 26
    sheet = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    most = math.ceil(max(measured) / 200) * 200
    right = width - 16

    def place(run: float, megabytes: float) -> tuple[float, float]:
        across = left + (right - left) * run / len(measured)
        return across, height - bottom - (height - bottom - top) * megabytes / most

    for megabytes in range(0, most + 1, most // 4):
        line = place(0, megabytes), place(len(measured), megabytes)
        draw.line(line, fill="#dddddd")
        draw.text((left - 6, line[0][1]), str(megabytes), fill="#444444", font=font, anchor="rm")
    for run in range(0, len(measured) + 1, 50):
        draw.text((place(run, 0)[0], height - bottom + 6), str(run), fill="#444444", font=font, anchor="mt")
    draw.text((left, 4), f"{engine}: resident MB after so many runs of random sizes", fill="black", font=font)
    draw.line([place(run, held) for run, held in enumerate(measured, 1)], fill="#1f5fbf", width=2)
    sheet.save(path)


if __name__ == "__main__":
    main()
