"""What the shipped model can do, measured: reconstruction, text-to-image, style transfer, the strength's effect.

Run from the repository root: ``python -m benchmarks.quality --work DIR [--write]``; DIR holds `pictures.npz` of
``python -m training.run``. A generated picture is judged by its nearest training picture, by distance of VAE latents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data import Pictures, caption, psnr

from . import report

Pixels = NDArray[np.uint8]
# (input pictures [n, h, w, 3], prompts, strength, seeds) -> pictures [n, h, w, 3]
Generate = Callable[[Pixels, Sequence[str], float, Sequence[int]], Pixels]
Encode = Callable[[Pixels], NDArray[np.float32]]  # pictures -> latents [n, ...]

CHECKPOINT = Path(__file__).parents[1] / "models/tiny-checkpoint"
BATCH = 20
STRENGTHS = tuple(round(0.1 * i, 1) for i in range(1, 11))


@dataclass(frozen=True)
class Judge:
    """Names the nearest training picture."""

    pictures: Pictures
    encode: Encode
    latents: NDArray[np.float32]  # [training pictures, elements]

    @staticmethod
    def of(pictures: Pictures, encode: Encode) -> Judge:
        return Judge(pictures, encode, encode(pictures.pixels).reshape(len(pictures.pixels), -1))

    def __call__(self, pixels: Pixels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Concept and style of the training picture nearest to each of `pixels` [n, h, w, 3]."""
        found = self.encode(pixels).reshape(len(pixels), -1)
        # |a - b|² without the cross array's memory; |found|² is the same for every candidate.
        distance = (self.latents**2).sum(1) - 2 * found @ self.latents.T
        nearest = distance.argmin(1)
        return self.pictures.concept[nearest], self.pictures.style[nearest]


def prompts(pictures: Pictures, concept: NDArray[np.int64], style: NDArray[np.int64]) -> list[str]:
    return [caption(pictures.names[c], pictures.styles[s]) for c, s in zip(concept, style, strict=True)]


def text_to_image(judge: Judge, generate: Generate, count: int, seed: int = 0) -> tuple[float, float]:
    """Parts of `count` random captions, drawn at strength 1, whose nearest picture has the right concept, style."""
    pictures = judge.pictures
    index = np.random.default_rng(seed).choice(len(pictures.pixels), count, replace=False)
    concept, style = pictures.concept[index], pictures.style[index]
    blank = np.full((count, *pictures.pixels.shape[1:]), 128, np.uint8)
    made = judge(generate(blank, prompts(pictures, concept, style), 1.0, range(count)))
    return float((made[0] == concept).mean()), float((made[1] == style).mean())


def style_transfer(
    judge: Judge, generate: Generate, count: int, strength: float = 0.6, seed: int = 1
) -> tuple[float, float]:
    """Parts of `count` random pictures, repainted in another style, that keep their concept, have that style."""
    pictures = judge.pictures
    rng = np.random.default_rng(seed)
    index = rng.choice(len(pictures.pixels), count, replace=False)
    concept = pictures.concept[index]
    style = (pictures.style[index] + rng.integers(1, len(pictures.styles), count)) % len(pictures.styles)
    made = judge(generate(pictures.pixels[index], prompts(pictures, concept, style), strength, range(count)))
    return float((made[0] == concept).mean()), float((made[1] == style).mean())


def similarity(pictures: Pictures, generate: Generate, count: int, seed: int = 2) -> list[float]:
    """Mean PSNR (dB) of output to input at each of STRENGTHS, repainting pictures in another style."""
    rng = np.random.default_rng(seed)
    index = rng.choice(len(pictures.pixels), count, replace=False)
    style = (pictures.style[index] + rng.integers(1, len(pictures.styles), count)) % len(pictures.styles)
    asked = prompts(pictures, pictures.concept[index], style)
    inputs = pictures.pixels[index]
    return [float(psnr(inputs, generate(inputs, asked, s, range(count))).mean()) for s in STRENGTHS]


def table(pictures: Pictures, restored: Pixels, judge: Judge, generate: Generate, count: int) -> str:
    """The measurements as a markdown table."""
    quality = psnr(pictures.pixels, restored)
    styles = ", ".join(f"{s} {quality[pictures.style == i].mean():.1f}" for i, s in enumerate(pictures.styles))
    drawn = text_to_image(judge, generate, count)
    moved = style_transfer(judge, generate, count)
    falling = similarity(pictures, generate, count // 4)
    monotonic = all(a > b for a, b in pairwise(falling))
    rows = [
        ("VAE reconstruction, mean PSNR", ">= 26 dB", f"{quality.mean():.2f} dB ({styles})"),
        ("Text-to-image at strength 1: concept right", ">= 60 %", f"{drawn[0]:.0%}"),
        ("Text-to-image at strength 1: style right", "-", f"{drawn[1]:.0%}"),
        ("Style transfer at strength 0.6: style right", ">= 70 %", f"{moved[1]:.0%}"),
        ("Style transfer at strength 0.6: concept kept", ">= 60 %", f"{moved[0]:.0%}"),
        (
            "PSNR to the input at strengths 0.1 ... 1.0, dB",
            "falling",
            " ".join(f"{value:.1f}" for value in falling) + (" (falling)" if monotonic else " (NOT falling)"),
        ),
    ]
    return report.table(("measure", "target", "measured"), rows)


def runtime(model: str, steps: int, guidance: float) -> Generate:
    """The torch-free runtime as a `Generate`."""
    import overpaint

    pipe = overpaint.load(model)

    def generate(inputs: Pixels, asked: Sequence[str], strength: float, seeds: Sequence[int]) -> Pixels:
        options = {"strength": strength, "steps": steps, "guidance_scale": guidance}
        parts = []
        for first in range(0, len(inputs), BATCH):
            part = slice(first, first + BATCH)
            result = pipe(list(inputs[part]), list(asked[part]), seed=list(seeds[part]), **options)
            parts += [np.asarray(image.convert("RGB")) for image in result.images]
        return np.stack(parts)

    return generate


def diffusers(checkpoint: Path, steps: int, guidance: float) -> Generate:
    """diffusers' own pipelines as a `Generate`, for a checkpoint that is not exported yet."""
    import torch
    from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline

    draw = StableDiffusionPipeline.from_pretrained(checkpoint, torch_dtype=torch.float32)
    repaint = StableDiffusionImg2ImgPipeline(**draw.components, requires_safety_checker=False)
    draw.set_progress_bar_config(disable=True)
    repaint.set_progress_bar_config(disable=True)

    def generate(inputs: Pixels, asked: Sequence[str], strength: float, seeds: Sequence[int]) -> Pixels:
        parts = []
        for first in range(0, len(inputs), BATCH):
            part = slice(first, first + BATCH)
            options = {
                "num_inference_steps": steps,
                "guidance_scale": guidance,
                "generator": [torch.Generator().manual_seed(seed) for seed in seeds[part]],
                "output_type": "np",
            }
            images = [Image.fromarray(pixels) for pixels in inputs[part]]
            if strength == 1:
                size = {"height": inputs.shape[1], "width": inputs.shape[2]}
                made = draw(list(asked[part]), **size, **options).images
            else:
                made = repaint(list(asked[part]), images, strength=strength, **options).images
            parts.append((made * 255).round().astype(np.uint8))
        return np.concatenate(parts)

    return generate


def main() -> None:
    parser = report.writer()
    parser.add_argument("--work", type=Path, required=True, help="folder with pictures.npz of training.run")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="diffusers folder whose VAE judges")
    parser.add_argument("--model", default="tiny", help="bundle that draws, by name or path")
    parser.add_argument("--diffusers", action="store_true", help="draw with diffusers and the checkpoint instead")
    parser.add_argument("--count", type=int, default=200, help="captions and pictures a measure (b, c)")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    args = parser.parse_args()

    import torch
    from diffusers import AutoencoderKL

    from training import vae

    pictures = Pictures.load(args.work / "pictures.npz").core()
    judge_vae = AutoencoderKL.from_pretrained(args.checkpoint, subfolder="vae", torch_dtype=torch.float32)
    judge = Judge.of(pictures, lambda pixels: vae.encode(judge_vae, pixels, "cpu").numpy())
    restored = vae.decode(judge_vae, vae.encode(judge_vae, pictures.pixels, "cpu"))
    options = (args.steps, args.guidance)
    generate = diffusers(args.checkpoint, *options) if args.diffusers else runtime(args.model, *options)
    how = (
        f"{args.steps} steps, guidance {args.guidance:g}, {args.count} captions or pictures; judged by, and on, the "
        f"{len(pictures.pixels)} pictures the U-Net was trained on, so this measures what it remembers."
    )
    body = f"{table(pictures, restored, judge, generate, args.count)}\n\n{how}"
    report.publish("quality", "quality", "What the trained model can do", body, "torch", "diffusers", write=args.write)


if __name__ == "__main__":
    main()
