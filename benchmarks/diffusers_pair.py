"""The same pictures by overpaint and by diffusers, in turn, in one process, on loaded pipelines.

New pictures and prompts are such as overpaint has no encodings of; the same picture again finds them in its caches.
"""

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
from overpaint.engines.compare import psnr

PROMPT, STRENGTH, GUIDANCE = "fox, ink style", 0.6, 7.5
PAUSE = 0.3
WARM_UP = 4  # the engine has its static graph by the third run
PRECISIONS = ("float32", None)
HEADER = ("precision", "picture", "overpaint, median s", "diffusers f32, median s", "ratio of the pairs", "PSNR, dB")


def seconds(call: Callable[..., object], *arguments: object) -> float:
    """How long a call takes, once the other library's idle threads have stopped spinning."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def main() -> None:
    parser = writer()
    parser.add_argument("checkpoint", nargs="?", default="models/tiny-checkpoint")
    parser.add_argument("model", nargs="?", default="tiny")
    parser.add_argument("--image", default="models/examples/fox.png")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    image = Image.open(given.image).convert("RGB")

    pipes = {precision or "the default": overpaint.load(given.model, precision=precision) for precision in PRECISIONS}
    peer = StableDiffusionImg2ImgPipeline.from_pretrained(given.checkpoint, torch_dtype=torch.float32)
    peer.set_progress_bar_config(disable=True)

    def changed(seed: int) -> tuple[Image.Image, str]:
        return Image.fromarray(np.asarray(image) ^ np.uint8(seed)), f"{PROMPT} {seed}"

    def ours(pipe: overpaint.Pipeline, source: Image.Image, prompt: str, seed: int) -> overpaint.Result:
        options = {"strength": STRENGTH, "steps": given.steps, "guidance_scale": GUIDANCE, "convention": "diffusers"}
        return pipe(source, prompt, seed=seed, **options)

    def theirs(source: Image.Image, prompt: str, seed: int) -> Image.Image:
        generator = torch.Generator().manual_seed(seed)
        options = {"strength": STRENGTH, "num_inference_steps": given.steps, "guidance_scale": GUIDANCE}
        return peer(prompt, image=source, generator=generator, **options).images[0]

    def pair(pipe: overpaint.Pipeline, seed: int, source: Image.Image, prompt: str) -> tuple[float, float]:
        return seconds(ours, pipe, source, prompt, seed), seconds(theirs, source, prompt, seed)

    seeds = range(1, given.repeats + 1)
    cases = {
        "a new picture and prompt": [changed(seed) for seed in seeds],
        "the same again": [(image, PROMPT)] * len(seeds),
    }
    rows = []
    for precision, pipe in pipes.items():
        for _ in range(WARM_UP):
            result = ours(pipe, image, PROMPT, 0)
        agreement = psnr(result.images[0], theirs(image, PROMPT, 0))
        for name, inputs in cases.items():
            pairs = [pair(pipe, seed, *source) for seed, source in zip(seeds, inputs, strict=True)]
            mine, other = (statistics.median(times) for times in zip(*pairs, strict=True))
            ratio = statistics.median(a / b for a, b in pairs)
            engine = f"{precision} ({result.engines['unet']})"
            rows.append((engine, name, f"{mine:.3f}", f"{other:.3f}", f"{ratio:.3f}", f"{agreement:.1f}"))
    title = f"Paired with diffusers, {given.steps} steps, strength {STRENGTH}, {image.width} x {image.height}"
    publish(
        "tiny",
        "diffusers-pair",
        title,
        table(HEADER, rows),
        "openvino",
        "onnxruntime",
        "torch",
        "diffusers",
        write=given.write,
    )


if __name__ == "__main__":
    main()
