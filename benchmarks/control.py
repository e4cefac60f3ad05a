"""How well the shipped ControlNet holds lines: edges of what is painted against the edges that were to be followed.

Run from the repository root: ``python -m benchmarks.control --work DIR [--write]``; DIR holds `pictures.npz` of
``python -m training.control``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from overpaint.runtime.imaging.hints import canny
from training.data import Pictures, caption, sheet

from . import report
from .quality import CHECKPOINT, Judge, Pixels

CONTROLNET = CHECKPOINT.with_name("tiny-controlnet")
NEW = 1000  # number of the first view that training did not show
STEPS, GUIDANCE = 15, 3.0


@dataclass(frozen=True)
class Case:
    """What is to be painted: edges uint8 [n, 64, 64], a prompt each, and the concepts [n] that are meant."""

    name: str
    edges: NDArray[np.uint8]
    prompts: Sequence[str]
    concepts: NDArray[np.int64]

    def agreement(self, made: Pixels) -> float:
        """The mean F1 of the edges of what was painted, uint8 [n, 64, 64, 3]."""
        pairs = zip(made, self.edges, strict=True)
        return float(np.mean([agreement(canny(pixels), edges) for pixels, edges in pairs]))


def agreement(made: NDArray[np.uint8], wanted: NDArray[np.uint8], within: int = 1) -> float:
    """F1 of edges, uint8 [h, w] each: those of either that have one of the other at most `within` pixels away."""
    near = [_spread(edges, within) > 0 for edges in (made, wanted)]
    precision = near[1][made > 0].mean() if made.any() else 0.0
    recall = near[0][wanted > 0].mean() if wanted.any() else 0.0
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def _spread(edges: NDArray[np.uint8], within: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(edges).filter(ImageFilter.MaxFilter(2 * within + 1)))


def cases(pictures: Pictures, count: int, seed: int = 0) -> list[Case]:
    """Known concepts in poses and in styles whose edges they did not come from, and concepts never shown."""
    from training.control import HELD_OUT, training_set
    from training.views import view

    rng = np.random.default_rng(seed)
    core, _ = training_set(pictures)
    unseen = np.setdiff1d(np.flatnonzero(pictures.concept % HELD_OUT == 0), core)
    own, across = rng.choice(core, (2, count), replace=False)
    new = rng.choice(unseen, count, replace=False)
    other = (pictures.style[across] + rng.integers(1, len(pictures.styles), count)) % len(pictures.styles)

    def case(name: str, index: NDArray[np.int64], number: int, prompts: list[str]) -> Case:
        edges = np.stack([canny(view(pictures, int(i), number)) for i in index])
        return Case(name, edges, prompts, pictures.concept[index])

    pairs = zip(pictures.concept[across], other, strict=True)
    others = [caption(pictures.names[concept], pictures.styles[style]) for concept, style in pairs]
    return [
        case("a new view, its own caption", own, NEW, [pictures.caption(int(i)) for i in own]),
        case("the caption of another style", across, 0, others),
        case("a concept never shown, no words", new, 0, [""] * count),
    ]


def painter(checkpoint: Path, controlnet: Path | None) -> Callable[[Case], Pixels]:
    """What paints a case from noise, through diffusers; without a ControlNet from the words alone."""
    import torch
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(checkpoint, torch_dtype=torch.float32)
    if controlnet:
        control = ControlNetModel.from_pretrained(controlnet, torch_dtype=torch.float32)
        pipe = StableDiffusionControlNetPipeline(**pipe.components, controlnet=control, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)

    def paint(case: Case) -> Pixels:
        options = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "output_type": "np"}
        options["generator"] = [torch.Generator().manual_seed(seed) for seed in range(len(case.edges))]
        if controlnet:
            options["image"] = [Image.fromarray(edges).convert("RGB") for edges in case.edges]
        else:
            options |= {"height": case.edges.shape[1], "width": case.edges.shape[2]}
        return (pipe(list(case.prompts), **options).images * 255).round().astype(np.uint8)

    return paint


def main() -> None:
    parser = report.writer()
    parser.add_argument("--work", type=Path, required=True, help="folder with pictures.npz of training.control")
    parser.add_argument("--controlnet", type=Path, default=CONTROLNET)
    parser.add_argument("--count", type=int, default=24, help="pictures a row")
    parser.add_argument("--sheet", type=Path, help="where to write edges, and pictures with and without")
    args = parser.parse_args()

    import torch
    from diffusers import AutoencoderKL

    from training import vae
    from training.views import small

    pictures = Pictures.load(args.work / "pictures.npz")
    judge_vae = AutoencoderKL.from_pretrained(CHECKPOINT, subfolder="vae", torch_dtype=torch.float32)
    core = pictures.core()
    known = replace(core, pixels=np.stack([small(each) for each in core.pixels]))
    judge = Judge.of(known, lambda pixels: vae.encode(judge_vae, pixels, "cpu").numpy())
    rows, shown = [], []
    for case in cases(pictures, args.count):
        made = [painter(CHECKPOINT, place)(case) for place in (args.controlnet, None)]
        scores = [case.agreement(each) for each in made]
        named = [np.array([core.names[concept] for concept in judge(each)[0]]) for each in made]
        wanted = np.array([pictures.names[concept] for concept in case.concepts])
        kept = [f"{(names == wanted).mean():.0%}" if case.prompts[0] else "-" for names in named]
        rows.append((case.name, *(f"{score:.2f}" for score in scores), *kept))
        print(rows[-1], flush=True)
        shown += [np.repeat(case.edges[:12, ..., None], 3, 3), *(each[:12] for each in made)]
    if args.sheet:
        sheet(np.concatenate(shown), min(12, args.count), 2).save(args.sheet)
    heads = ("edges of", "edge F1 with", "without", "concept right with", "without")
    how = (
        f"Painted from noise in {STEPS} steps at guidance {GUIDANCE:g}, {args.count} pictures a row, by diffusers. "
        "F1 of `canny` edges within one pixel; a concept is right where the nearest of tiny's pictures has it."
    )
    body = f"{report.table(heads, rows)}\n\n{how}"
    title = "How well tiny's ControlNet holds lines"
    report.publish("quality", "control", title, body, "torch", "diffusers", write=args.write)


if __name__ == "__main__":
    main()
