"""Which of ComfyUI's own templates run here, and what the others lack.

Run from the repository root: ``python -m benchmarks.templates [FOLDER ...] [--write]``. A FOLDER holds `templates/`, as
the packages comfyui-workflow-templates-json, -media-image and -media-other do; without one those that are installed are
read. No model runs: a template that is sound would run with the files that it names.
"""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from overpaint.errors import InputError
from overpaint.workflow.bench import Workbench
from overpaint.workflow.document import Workflow
from overpaint.workflow.frontend.graph import is_page_format
from overpaint.workflow.frontend.read import from_page
from overpaint.workflow.node import Nodes
from overpaint.workflow.registry import standard
from overpaint.workflow.validate import InvalidWorkflowError, validate

from . import report

PACKAGES = tuple(f"comfyui_workflow_templates_{part}" for part in ("json", "media_image", "media_other"))
OURS = {
    "SDXL": ("sd_xl_",),
    "SD 1.x, 2.x": (
        "v1-5", "v2-1", "512-inpainting", "dreamshaper", "majicmix", "japanesestyle", "awpainting", "architecturereal",
        "interiordesign",
    ),
}  # fmt: skip
"""Families by how their checkpoints' names begin: the packages do not say it."""
PICTURES = frozenset({"SaveImage", "PreviewImage"})
FILMS = frozenset({"SaveVideo", "SaveWEBM", "SaveAnimatedWEBP", "SVD_img2vid_Conditioning"})


class Everything(Workbench):
    """A workbench that has every file that a workflow names."""

    def __init__(self, workflow: Workflow) -> None:
        values = [value for step in workflow.steps.values() for value in step.inputs.values()]
        self._names = sorted({value for value in values if isinstance(value, str)})
        super().__init__(dict.fromkeys(self._names, "tiny"))

    checkpoints = upscalers = controlnets = image_prompts = loras = property(lambda self: self._names)

    def path(self, name: str, kind: str = "input") -> Path:
        """A file that is there."""
        return Path(__file__)


@dataclass(frozen=True)
class Outcome:
    """What became of a template: the classes that are missing, or the first problem of each node; neither if it would
    run."""

    name: str
    family: str
    missing: Sequence[str] = ()
    problems: Sequence[str] = field(default_factory=tuple)
    unreadable: str = ""

    @property
    def runs(self) -> bool:
        """Whether it would run."""
        return not (self.missing or self.problems or self.unreadable)

    @property
    def row(self) -> tuple[str, ...]:
        """Its row of the table."""
        lacks = ", ".join(f"`{kind}`" for kind in self.missing) or "; ".join(self.problems) or self.unreadable
        return self.name, self.family, "no" if self.unreadable else "yes", "yes" if self.runs else "no", lacks


def outcome(name: str, document: Mapping[str, Any], nodes: Nodes) -> Outcome:
    """Read and check a template."""
    try:
        workflow = from_page(document, nodes)
    except InputError as exc:
        return Outcome(name, "others", unreadable=str(exc))
    family = family_of(workflow)
    missing = sorted({step.kind for step in workflow.steps.values() if step.kind not in nodes})
    if missing:
        return Outcome(name, family, missing)
    try:
        found = validate(workflow, nodes, Everything(workflow)).node_errors(workflow)
    except InvalidWorkflowError as exc:
        found = exc.node_errors
        if not found:
            return Outcome(name, family, problems=[str(exc)])
    problems = dict.fromkeys(_problem_text(each["class_type"], each["errors"][0]["details"]) for each in found.values())
    return Outcome(name, family, problems=list(problems))


def _problem_text(kind: str, details: str) -> str:
    """A node's class and its problem, which may begin with the class."""
    return f"`{kind}`" + (details.removeprefix(kind) if details.startswith(kind) else f": {details}")


def family_of(workflow: Workflow) -> str:
    """The family of the checkpoints of a workflow that makes pictures, "others" of any other."""
    kinds = {step.kind for step in workflow.steps.values()}
    if not kinds & PICTURES or kinds & FILMS:
        return "others"
    names = [
        str(step.inputs.get("ckpt_name", "")).lower()
        for step in workflow.steps.values()
        if step.kind == "CheckpointLoaderSimple"
    ]
    return next(
        (family for family, starts in OURS.items() if names and all(n.startswith(starts) for n in names)), "others"
    )


def templates(folders: Sequence[Path]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All templates by name, each once: the first folder that has it counts."""
    seen = set[str]()
    for path in (path for folder in folders for path in sorted(folder.rglob("templates/*.json"))):
        document = json.loads(path.read_text(encoding="utf-8"))
        if path.stem not in seen and is_page_format(document):
            seen.add(path.stem)
            yield path.stem, document


def installed() -> list[Path]:
    """The folders of the packages that are installed; raises `InputError` where none is."""
    specs = filter(None, map(importlib.util.find_spec, PACKAGES))
    folders = [Path(place) for spec in specs for place in spec.submodule_search_locations or ()]
    if not folders:
        raise InputError("no template package is installed; install one, or name its folder")
    return folders


def body(outcomes: Sequence[Outcome]) -> str:
    """The section: a row for each template of the families that are served, and what the others lack most."""
    ours = sorted((each for each in outcomes if each.family != "others"), key=lambda each: (each.family, each.name))
    others = [each for each in outcomes if each.family == "others"]
    lacks = Counter(kind for each in others for kind in each.missing)
    most = ", ".join(f"`{kind}` {count}" for kind, count in lacks.most_common(20))
    read = sum(not each.unreadable for each in outcomes)
    header = ("template", "family", "read", "sound", "what it lacks")
    return (
        f"{read} of {len(outcomes)} templates are read into the API format. Of those of Stable Diffusion "
        f"that make pictures {sum(each.runs for each in ours)} of {len(ours)} are sound: all their nodes are there, "
        f"and every input and link is in order.\n\n{report.table(header, [each.row for each in ours])}\n\n"
        f"Of the {len(others)} others, which need other families, video, sound or paid services, "
        f"{sum(each.runs for each in others)} are sound. Most often missing in them: {most}."
    )


if __name__ == "__main__":
    parser = report.writer()
    parser.add_argument("folders", nargs="*", type=Path, help="where templates are, but for the installed packages")
    options = parser.parse_args()
    nodes = standard()
    made = [outcome(name, document, nodes) for name, document in templates(options.folders or installed())]
    packages = (
        [] if options.folders else [name.replace("_", "-") for name in PACKAGES if importlib.util.find_spec(name)]
    )
    report.publish("templates", "templates", "ComfyUI's templates", body(made), *packages, write=options.write)
