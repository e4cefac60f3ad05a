"""What forecasts, deep features and guiding in a part of the steps save, and how near pictures are to those without.

overpaint export models/tiny-checkpoint build/tiny-deep --weights float16 --deep-cache --default guidance_scale=2
python -m benchmarks.caching --model build/tiny-deep --write
python -m benchmarks.caching --samplers ddim --pictures 1    # a quick look
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import overpaint
from benchmarks.report import RESULTS, figure, in_turn, publish, table, writer
from overpaint.runtime.diagnostics.demo import EXAMPLES

PICTURES = (("fox.png", "fox, ink style"), ("pizza.png", "pizza, noto style"), ("octopus.png", "octopus, flat style"))
WAYS: Mapping[str, Mapping[str, Any]] = {
    "forecast:2": {"cache": "forecast:2"},
    "forecast:3": {"cache": "forecast:3"},
    "forecast:4": {"cache": "forecast:4"},
    "forecast:5": {"cache": "forecast:5"},
    "deep:2": {"cache": "deep:2"},
    "deep:3": {"cache": "deep:3"},
    "deep:5": {"cache": "deep:5"},
    "guidance 0.2 to 0.8": {"guidance_interval": (0.2, 0.8)},
    "both, forecast:2": {"cache": "forecast:2", "guidance_interval": (0.2, 0.8)},
}
DEEP = ("deep:2", "deep:3", "deep:5")
COLOURS = ("#1f5fbf", "#bf5f1f", "#3f8f3f", "#8f3f8f")
GOAL_TIMES, GOAL_DECIBELS = 1.7, 30.0


def psnr(made: Image.Image, wanted: Image.Image) -> float:
    """The peak signal to noise ratio of 8-bit pixels, in decibels."""
    difference = np.asarray(made.convert("RGB"), np.float64) - np.asarray(wanted.convert("RGB"), np.float64)
    return float(10 * np.log10(255**2 / max((difference**2).mean(), 1e-9)))


def measure(pipe: overpaint.Pipeline, sampler: str, given: argparse.Namespace) -> dict[str, tuple[float, float, float]]:
    """Of each way how many times as fast its steps are, and the mean and the least PSNR of its pictures."""
    left_out = DEEP if pipe.denoiser.shallow is None else ()
    kinds: dict[str, Mapping[str, Any]] = {name: own for name, own in ({"": {}} | WAYS).items() if name not in left_out}
    made: dict[str, list[Image.Image]] = {name: [] for name in kinds}
    times: dict[str, list[float]] = {name: [] for name in kinds}

    def paint(name: str, picture: str, prompt: str) -> None:
        steps = {"steps": given.steps, "strength": given.strength, "sampler": sampler, "seed": 7}
        result = pipe(EXAMPLES / picture, prompt, **steps, **kinds[name])
        made[name].append(result.images[0])
        times[name].append(result.timings["denoise"])

    for picture, prompt in PICTURES[: given.pictures]:
        in_turn([partial(paint, name, picture, prompt) for name in kinds], given.repeats)
    return {
        name: (
            statistics.median(plain / own for plain, own in zip(times[""], times[name], strict=True)),
            *_spread([psnr(image, plain) for image, plain in zip(made[name], made[""], strict=True)]),
        )
        for name in kinds
        if name
    }


def _spread(values: Sequence[float]) -> tuple[float, float]:
    return statistics.mean(values), min(values)


def plot(measured: Mapping[str, Mapping[str, tuple[float, float, float]]], path: Path) -> None:
    """Draw the mean PSNR over the speed, a line a sampler: forecasts thick, deep features thin; the goal is grey."""
    width, height, left, bottom, top, right = 640, 360, 60, 40, 30, 620
    sheet = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    most, best = 4.0, 60.0

    def place(times: float, decibels: float) -> tuple[float, float]:
        across = left + (right - left) * (min(times, most) - 1) / (most - 1)
        return across, height - bottom - (height - bottom - top) * (min(decibels, best) - 20) / (best - 20)

    draw.rectangle((*place(GOAL_TIMES, best), *place(most, GOAL_DECIBELS)), fill="#eeeeee")
    for decibels in range(20, 61, 10):
        draw.line((place(1, decibels), place(most, decibels)), fill="#cccccc")
        draw.text((left - 6, place(1, decibels)[1]), f"{decibels} dB", fill="#444444", font=font, anchor="rm")
    for times in (1, 1.5, 2, 2.5, 3, 3.5, 4):
        draw.text((place(times, 20)[0], height - bottom + 6), f"{times:g}x", fill="#444444", font=font, anchor="mt")
    draw.text(
        (left, 6), "PSNR to the picture without, over the speed of its steps; thin: deep", fill="black", font=font
    )
    for row, ((sampler, ways), colour) in enumerate(zip(measured.items(), COLOURS, strict=False)):
        for kind, width in (("forecast", 2), ("deep", 1)):
            points = [place(*own[:2]) for name, own in ways.items() if name.startswith(kind)]
            draw.line(points, fill=colour, width=width)
            for across, down in points:
                draw.ellipse((across - 3, down - 3, across + 3, down + 3), colour if width > 1 else "white", colour)
        draw.text((right - 90, top + 8 + 16 * row), sampler, fill=colour, font=font)
    sheet.save(path)


def main() -> None:
    """Measure each sampler and publish the table and the plot."""
    parser = writer()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--samplers", nargs="+", default=["ddim", "dpmpp_2m", "euler_a"])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--pictures", type=int, default=len(PICTURES), help="how many")
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args()
    pipe = overpaint.load(given.model)
    measured = {sampler: measure(pipe, sampler, given) for sampler in given.samplers}
    rows = [
        (sampler, name, f"{times:.2f}x", f"{mean:.1f} dB", f"{least:.1f} dB")
        for sampler, ways in measured.items()
        for name, (times, mean, least) in ways.items()
    ]
    body = (
        f"{given.steps} steps at strength {given.strength:g}, {given.pictures} pictures of the package, "
        f"{pipe.bundle.model.name} on {pipe.denoiser.engine.label}. The speed is that of all steps, in turn with the "
        "picture without, the median, on a machine that others use too; the PSNR is to that picture.\n\n"
        + table(("sampler", "way", "speed", "mean PSNR", "least PSNR"), rows)
    )
    if given.write:
        path = RESULTS / "caching.png"
        plot(measured, path)
        body += "\n\n" + figure("PSNR over speed", path)
    publish(
        "caching",
        "forecast",
        "Forecasts, deep features and guidance intervals",
        body,
        "onnxruntime",
        "numpy",
        write=given.write,
    )


if __name__ == "__main__":
    main()
