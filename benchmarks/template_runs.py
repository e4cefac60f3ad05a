"""ComfyUI's templates of Stable Diffusion, run at full size with random weights: a process each, a few steps each.

python -m benchmarks.full_size DIR --weights float16 --lora --adapters control --controlnet
python -m benchmarks.full_size DIR --family sdxl          # and sdxl-refiner, sd2, sd2-inpainting
python -m benchmarks.template_runs [FOLDER ...] --models DIR --controlnet DIR/controlnet --write

A FOLDER holds `templates/`, as for benchmarks.templates. Every checkpoint of a template is the bundle of its family in
DIR, every ControlNet the one that is named, and LoRAs and embeddings are random too. Sizes are the template's.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from safetensors.numpy import save_file

from overpaint.bundles.manifest import Bundle
from overpaint.workflow.document import Workflow
from overpaint.workflow.frontend.read import from_page
from overpaint.workflow.registry import standard
from tests.support.full_size import run_apart

from . import report
from .adapters import write_loras
from .templates import installed, outcome, templates

BUNDLES = (
    ("512-inpainting", "sd2-inpainting"),
    ("v2-", "sd2"),
    ("sd_xl_refiner", "sdxl-refiner"),
    ("sd_xl", "sdxl"),
    ("", "sd15"),
)
"""The bundle that stands for a checkpoint, by how its name begins."""
PICTURE = 768, 512
STEPS = ("start_at_step", "end_at_step")


@dataclass(frozen=True)
class Run:
    """What became of a template: its pictures' sizes, and why it did not run, "" where it did."""

    name: str
    bundles: str
    pictures: str = ""
    seconds: float = 0.0
    memory: float = 0.0
    reason: str = ""

    @property
    def row(self) -> tuple[str, ...]:
        """Its row of the table."""
        if self.reason:
            return self.name, self.bundles, "no", "", "", "", self.reason
        return self.name, self.bundles, "yes", self.pictures, f"{self.seconds:.0f}", f"{self.memory:.1f}", ""


def main() -> None:
    parser = report.writer()
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    parser.add_argument("folders", nargs="*", type=Path, help="where templates are, but for the installed packages")
    parser.add_argument("--models", type=Path, required=True, help="holds sd15, sd2, sd2-inpainting, sdxl, ...")
    parser.add_argument("--controlnet", type=Path, required=True, help="a ControlNet's bundle for sd15")
    parser.add_argument("--steps", type=int, default=1, help="of each sampler, for the template's (1)")
    parser.add_argument("--only", default="", help="a pattern of templates' names")
    parser.add_argument("--keep", type=Path, help="a folder for the pictures")
    given = parser.parse_args()
    nodes, runs = standard(), []
    for name, document in sorted(templates(given.folders or installed())):
        made = outcome(name, document, nodes)
        if made.family != "others" and re.search(given.only, name):
            reason = "" if made.runs else "not sound, see above"
            runs.append(Run(name, "", reason=reason) if reason else run(name, from_page(document, nodes), given))
            print(" | ".join(runs[-1].row), flush=True)
    good = sum(not each.reason for each in runs)
    header = ("template", "bundles", "runs", "pictures", "seconds", "peak GB", "why not")
    body = (
        f"{good} of {len(runs)} ran, each in a process of its own that loads its bundles: `overpaint run` on OpenVINO, "
        "at the template's own sizes, on random weights. In place of the template's steps each sampler takes "
        f"{given.steps}, and 2 at least where it takes a part of them.\n\n"
        f"{report.table(header, [each.row for each in runs])}"
    )
    title = "ComfyUI's templates at full size"
    report.publish("templates", "template-runs", title, body, "openvino", write=given.write)


def run(name: str, workflow: Workflow, given: argparse.Namespace) -> Run:
    """Run a template's workflow."""
    bundles = {name: _bundle(name) for name in values(workflow, "ckpt_name", "vae_name")}
    label = ", ".join(sorted(set(bundles.values())))
    for each in set(bundles.values()):
        if not (given.models / each).is_dir():
            return Run(name, label, reason=f"no bundle `{each}` was made")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        words = list(_words(workflow, bundles, given, folder))
        file = folder / "workflow.json"
        file.write_text(json.dumps(dict(workflow.with_values(dict(shortened(workflow, given.steps))).source)))
        command = ["run", str(file), "--folder", place, "--json", "--engine", "openvino", "--no-verify", *words]
        try:
            seconds, memory = _spent(command, folder / "said")
            return Run(name, label, _sizes(folder, name, given.keep), seconds, memory)
        except RuntimeError as exc:
            return Run(name, label, reason=str(exc))


def _spent(words: list[str], said: Path) -> tuple[float, float]:
    """The seconds and the peak memory in GB of a command; raises `RuntimeError` with the last line that it prints."""
    start = time.monotonic()
    try:
        with said.open("w") as stream:
            peak = run_apart(*words, said=stream)
    except RuntimeError as exc:
        raise RuntimeError((said.read_text().strip().splitlines() or [str(exc)])[-1]) from exc
    return time.monotonic() - start, peak / 1e9


def values(workflow: Workflow, *inputs: str) -> list[str]:
    """The texts of inputs by their names, each once."""
    given = (step.inputs.get(each) for step in workflow.steps.values() for each in inputs)
    return list(dict.fromkeys(each for each in given if isinstance(each, str)))


def shortened(workflow: Workflow, steps: int) -> Iterator[tuple[str, int]]:
    """The changes that leave `steps` steps of each sampler; one that takes a part of a schedule has one step of two at
    least, at its place."""
    for id, step in workflow.steps.items():
        before = step.inputs.get("steps")
        if not isinstance(before, int):
            continue
        places = {each: step.inputs.get(each) for each in STEPS}
        inner = {each: place for each, place in places.items() if isinstance(place, int) and 0 < place < before}
        after = min(before, max(steps, 2) if inner else steps)
        yield f"{id}.steps", after
        for each, place in inner.items():
            yield f"{id}.{each}", max(1, place * after // before)


def _bundle(checkpoint: str) -> str:
    return next(bundle for start, bundle in BUNDLES if checkpoint.startswith(start))


def _words(workflow: Workflow, bundles: Mapping[str, str], given: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The options of `overpaint run` for all that a workflow names; writes what has to be a file."""
    for name, bundle in bundles.items():
        yield from ("--model", f"{name}={given.models / bundle}")
    for name in values(workflow, "control_net_name"):
        yield from ("--controlnet", f"{name}={given.controlnet}")
    for name in values(workflow, "model_name"):
        yield from ("--upscaler", f"{name}=compact")
    if loras := [name.removesuffix(".safetensors") for name in values(workflow, "lora_name")]:
        (folder / "loras").mkdir()
        write_loras(given.models / "sd15", folder / "loras", loras)
        yield from ("--lora", str(folder / "loras"))
    for name in dict.fromkeys(re.findall(r"embedding:([\w-]+)", " ".join(values(workflow, "text")))):
        yield from ("--embedding", str(_embedding(given.models / next(iter(bundles.values())), folder, name)))
    for name in values(workflow, "image"):
        _picture(folder / "input" / name)


def _embedding(bundle: Path, folder: Path, name: str) -> Path:
    """A textual inversion of two random vectors."""
    width = Bundle.read(bundle, verify=False).by_role("text_encoder").outputs[0].axes[-1]
    path = folder / f"{name}.safetensors"
    save_file({"emb_params": np.random.default_rng(0).standard_normal((2, int(width)), np.float32)}, path)
    return path


def _picture(path: Path) -> None:
    """A picture with hard edges, and with a hole in its alpha for those who take it for a mask."""
    picture = Image.new("RGBA", PICTURE, "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((150, 60, 600, 450), fill="black")
    draw.rectangle((300, 180, 420, 300), fill=(255, 160, 0, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture if path.suffix == ".png" else picture.convert("RGB")).save(path)


def _sizes(folder: Path, name: str, keep: Path | None) -> str:
    """The sizes of what was saved and previewed; raises `RuntimeError` for a picture of one colour, or for none."""
    sizes = []
    for file in (file for kind in ("output", "temp") for file in sorted((folder / kind).rglob("*.png"))):
        with Image.open(file) as picture:
            if np.asarray(picture.convert("RGB")).std() < 1:
                raise RuntimeError(f"{file.name} is of one colour")
            sizes.append(f"{picture.width} x {picture.height}")
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, keep / f"{name}-{file.name}")
    if not sizes:
        raise RuntimeError("there is no picture")
    return ", ".join(sizes)


if __name__ == "__main__":
    main()
