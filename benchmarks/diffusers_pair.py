"""The same picture by overpaint and by diffusers, in turn, in one process: load, first and later pictures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

import overpaint
from benchmarks.report import publish, table, writer

PROMPT, STRENGTH, GUIDANCE = "fox, ink style", 0.6, 7.5


def seconds(call: Callable[[int], object], seed: int) -> float:
    start = time.perf_counter()
    call(seed)
    return time.perf_counter() - start


def psnr(ours: Image.Image, theirs: Image.Image) -> float:
    error = np.mean((np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def main() -> None:
    parser = writer()
    parser.add_argument("checkpoint", nargs="?", default="models/tiny-checkpoint")
    parser.add_argument("model", nargs="?", default="tiny")
    parser.add_argument("--image", default="models/examples/fox.png")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    image = Image.open(given.image).convert("RGB")

    pipe = overpaint.load(given.model)
    peer = StableDiffusionImg2ImgPipeline.from_pretrained(given.checkpoint, torch_dtype=torch.float32)
    peer.set_progress_bar_config(disable=True)

    def ours(seed: int) -> Image.Image:
        options = {"strength": STRENGTH, "steps": given.steps, "guidance_scale": GUIDANCE, "convention": "diffusers"}
        return pipe(image, PROMPT, seed=seed, **options).images[0]

    def theirs(seed: int) -> Image.Image:
        generator = torch.Generator().manual_seed(seed)
        options = {"strength": STRENGTH, "num_inference_steps": given.steps, "guidance_scale": GUIDANCE}
        return peer(PROMPT, image=image, generator=generator, **options).images[0]

    agreement = psnr(ours(0), theirs(0))
    pairs = [(seconds(ours, seed), seconds(theirs, seed)) for seed in range(1, given.repeats + 1)]
    mine, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    rows = [
        ("overpaint, median s a picture", f"{mine:.3f}"),
        ("diffusers, median s a picture", f"{other:.3f}"),
        ("ratio of the pairs, median", f"{statistics.median(ours / theirs for ours, theirs in pairs):.3f}"),
        ("same picture, PSNR dB", f"{agreement:.1f}"),
    ]
    title = f"Paired with diffusers, {given.steps} steps, strength {STRENGTH}, {image.width} x {image.height}"
    publish(
        "diffusers-pair", title, table(("what", "value"), rows), "onnxruntime", "torch", "diffusers", write=given.write
    )


if __name__ == "__main__":
    main()
