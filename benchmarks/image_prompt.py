"""How well the shipped image-prompt adapter hands over a picture's style.

Run from the repository root: ``python -m benchmarks.image_prompt --work DIR [--write]``; DIR holds `pictures.npz` of
``python -m training.image_prompt``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data import Pictures, caption, sheet

from . import report
from .quality import CHECKPOINT, Judge, Pixels

ADAPTER = CHECKPOINT.with_name("tiny-image-prompt")
WEIGHTS, ENCODER = "ip-adapter.safetensors", "image_encoder"
STEPS, GUIDANCE = 15, 3.0


@dataclass(frozen=True)
class Case:
    """What is to be painted: prompts, a picture beside each by its index [n], and the concept and style meant."""

    name: str
    prompts: list[str]
    shown: NDArray[np.int64]
    concept: NDArray[np.int64]
    style: NDArray[np.int64]


def cases(pictures: Pictures, count: int, seed: int = 0) -> list[Case]:
    """A concept in the style of another concept's picture; the same against a style in words; a picture alone."""
    rng = np.random.default_rng(seed)
    shown = rng.choice(len(pictures.pixels), count, replace=False)
    concept = (pictures.concept[shown] + rng.integers(1, len(pictures.names), count)) % len(pictures.names)
    style = pictures.style[shown]
    wrong = (style + rng.integers(1, len(pictures.styles), count)) % len(pictures.styles)
    names = [pictures.names[each] for each in concept]
    against = [caption(name, pictures.styles[each]) for name, each in zip(names, wrong, strict=True)]
    return [
        Case("`NAME` and a picture of another concept", names, shown, concept, style),
        Case("`NAME, OTHER style` and the same picture", against, shown, concept, style),
        Case("no words, the picture alone", [""] * count, shown, pictures.concept[shown], style),
    ]


def paint(case: Case, pictures: Pictures, adapter: Path, scale: float) -> Pixels:
    """The case painted from noise through diffusers; with a scale of 0 from the words alone."""
    import torch
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(CHECKPOINT, torch_dtype=torch.float32)
    options = {"image_encoder_folder": ENCODER, "weight_name": WEIGHTS, "subfolder": ""}
    pipe.load_ip_adapter(str(adapter), **options)
    pipe.set_ip_adapter_scale(scale)
    pipe.set_progress_bar_config(disable=True)
    size = pictures.pixels.shape[1]
    images = [Image.fromarray(pixels) for pixels in pictures.pixels[case.shown]]
    parts = []
    for index, (prompt, image) in enumerate(zip(case.prompts, images, strict=True)):
        generator = torch.Generator().manual_seed(index)
        steps = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "output_type": "np"}
        made = pipe(prompt, ip_adapter_image=image, height=size, width=size, generator=generator, **steps).images
        parts.append((made[0] * 255).round().astype(np.uint8))
    return np.stack(parts)


def main() -> None:
    parser = report.writer()
    parser.add_argument("--work", type=Path, required=True, help="folder with pictures.npz of training.image_prompt")
    parser.add_argument("--adapter", type=Path, default=ADAPTER)
    parser.add_argument("--count", type=int, default=48, help="pictures a row")
    parser.add_argument("--sheet", type=Path, help="where to write what is shown, and pictures with and without")
    args = parser.parse_args()

    import torch
    from diffusers import AutoencoderKL

    from training import vae
    from training.views import small

    core = Pictures.load(args.work / "pictures.npz").core()
    pictures = replace(core, pixels=np.stack([small(each) for each in core.pixels]))
    judge_vae = AutoencoderKL.from_pretrained(CHECKPOINT, subfolder="vae", torch_dtype=torch.float32)
    judge = Judge.of(pictures, lambda pixels: vae.encode(judge_vae, pixels, "cpu").numpy())
    rows, shown = [], []
    for case in cases(pictures, args.count):
        made = [paint(case, pictures, args.adapter, scale) for scale in (1.0, 0.0)]
        judged = [judge(each) for each in made]
        right = [f"{(found[1] == case.style).mean():.0%}" for found in judged]
        kept = [f"{(found[0] == case.concept).mean():.0%}" for found in judged]
        rows.append((case.name, *right, *kept))
        print(rows[-1], flush=True)
        shown += [pictures.pixels[case.shown[:12]], *(each[:12] for each in made)]
    if args.sheet:
        sheet(np.concatenate(shown), min(12, args.count), 2).save(args.sheet)
    heads = ("asked for by", "the picture's style with", "without", "concept right with", "without")
    how = (
        f"Painted from noise in {STEPS} steps at guidance {GUIDANCE:g}, {args.count} pictures a row, by diffusers. "
        "Style and concept are those of the nearest of tiny's pictures, by VAE latents."
    )
    body = f"{report.table(heads, rows)}\n\n{how}"
    title = "How well tiny's image-prompt adapter hands over styles"
    report.publish("quality", "image_prompt", title, body, "torch", "diffusers", write=args.write)


if __name__ == "__main__":
    main()
