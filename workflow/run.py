"""Workflows from files: read, changed, explained and run."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import InputError
from ..runtime.model.shipped import MODELS
from . import document
from .bench import Source, Workbench
from .cache import Keys
from .document import Workflow
from .events import Listener, ignore
from .execute import Outcome, run
from .frontend.graph import is_page_format
from .frontend.read import from_page
from .node import Node, Nodes
from .order import Needs
from .registry import standard
from .validate import literals, validate


@dataclass(frozen=True, eq=False)
class WorkflowResult:
    """What a workflow came to: the files of its sinks, in the order of the workflow, and all that they show."""

    files: tuple[Path, ...]
    outcome: Outcome

    @property
    def images(self) -> tuple[Image.Image, ...]:
        """The pictures of the files."""
        return tuple(Image.open(file) for file in self.files)


EXAMPLES = (MODELS / "examples").resolve()
WorkflowSource = Workflow | Mapping[str, Any] | str | os.PathLike[str]


def read_workflow(source: WorkflowSource, nodes: Iterable[Node] = ()) -> Workflow:
    """A workflow in the API format, or as ComfyUI's page saves it: a file, also a PNG with a workflow in it, or what
    such a file holds.

    `nodes` are classes of nodes besides those of the package. Raises `InputError` for anything else.
    """
    if isinstance(source, Workflow):
        return source
    if isinstance(source, Mapping):
        return _parsed(source, nodes)
    path = Path(source)
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise InputError(f"{path}: the workflow cannot be read ({exc.strerror}); name another file") from exc
    if not content.startswith(b"\x89PNG"):
        return _parsed(document.parse_text(content), nodes)
    with Image.open(path) as picture:
        held = {key: picture.info[key] for key in ("prompt", "workflow") if key in picture.info}
    if not held:
        raise InputError(f"{path}: the picture holds no workflow; name one that SaveImage wrote")
    editor = document.parse_text(held["workflow"]) if "workflow" in held else None
    if "prompt" not in held:
        return _parsed(editor, nodes)
    return document.parse(document.parse_text(held["prompt"]), editor)


def examples_of(source: WorkflowSource) -> Path | None:
    """The folder of the pictures that a workflow loads, if it is the file of one that ships with the package."""
    shipped = isinstance(source, (str, os.PathLike)) and Path(source).resolve().parent == EXAMPLES / "workflows"
    return EXAMPLES if shipped else None


def _parsed(source: Any, nodes: Iterable[Node]) -> Workflow:
    return from_page(source, standard(nodes)) if is_page_format(source) else document.parse(source)


def run_workflow(
    source: WorkflowSource,
    models: Mapping[str, Source] | Workbench | None = None,
    *,
    values: Mapping[str, Any] | None = None,
    folder: str | Path = ".",
    output: str | Path | None = None,
    nodes: Iterable[Node] = (),
    listener: Listener = ignore,
    cancelled: threading.Event | None = None,
) -> WorkflowResult:
    """Run a workflow of ComfyUI: in its API format, or as its page saves it.

    `models` are by the names that the workflow has for them, or a `Workbench` that several runs share, so that only
    what changed runs again. `values` are changes such as {"3.seed": 7}. `folder` holds the folders input, output and
    temp; `output` may be another one. `nodes` are classes of nodes besides those of the package. Raises `InputError`
    for what cannot run, in all its `InvalidWorkflowError.node_errors`, and `NodeFailedError`.
    """
    nodes = tuple(nodes)
    workflow = read_workflow(source, nodes).with_values(values or {})
    bench = (
        models
        if isinstance(models, Workbench)
        else Workbench(models or {"tiny": "tiny"}, folder=folder, output=output, examples=examples_of(source))
    )
    outcome = run(workflow, standard(nodes), bench, listener, cancelled=cancelled)
    return WorkflowResult(files_of(outcome, bench), outcome)


def files_of(outcome: Outcome, bench: Workbench) -> tuple[Path, ...]:
    """The files that a workflow's sinks wrote."""
    return tuple(
        bench.folders[image["type"]] / image["subfolder"] / image["filename"]
        for shown in outcome.shown.values()
        for image in shown.get("images", ())
    )


@dataclass(frozen=True)
class Planned:
    """A node of a workflow that would run: whether its result is there already, and the evaluations that it takes, None
    where only running it can tell."""

    node: str
    kind: str
    title: str
    cached: bool
    evaluations: int | None


def explain(workflow: Workflow, nodes: Nodes, bench: Workbench) -> list[Planned]:
    """The nodes that a run comes to, in their order; raises `InvalidWorkflowError` where none can run."""
    report = validate(workflow, nodes, bench)
    keys, needs = Keys(workflow, nodes, bench), Needs(workflow, nodes, report.runnable)
    cached = {id for id in needs.needed() if bench.results.get(keys[id]) is not None}
    done, planned = set[str](), list[Planned]()
    while (id := needs.next(done | cached)) is not None:
        done.add(id)
        planned.append(_planned(workflow, nodes, bench, id, False))
    held = [
        _planned(workflow, nodes, bench, id, True) for id in workflow.steps if id in cached and id in needs.needed()
    ]
    return held + planned


def _planned(workflow: Workflow, nodes: Nodes, bench: Workbench, id: str, cached: bool) -> Planned:
    step = workflow.steps[id]
    node = nodes.get(step.kind)
    assert node is not None
    samples = any(output.type == "LATENT" for output in node.outputs) and "sampling" in node.category
    cost: int | None = None if samples else 0
    if node.cost is not None:
        cost = node.cost(**literals(step, node, bench))
    return Planned(id, step.kind, step.title, cached, 0 if cached else cost)
