"""The command that runs a workflow of ComfyUI."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ..common import add_engine, add_overwrite
from ..console import Console, add_console
from ..loras import add_mode
from ..outputs import check_free
from ..prompts import add_embedding

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...workflow.bench import Workbench
    from ...workflow.document import Workflow
    from ...workflow.events import Event


def run(
    workflow: Path,
    output: Path | None,
    changes: list[tuple[str, Any]],
    models: list[str],
    loras: list[Path],
    lora_mode: str | None,
    controlnets: list[str],
    image_prompts: list[str],
    upscalers: list[str],
    embeddings: list[Path],
    folder: Path,
    explain: bool,
    overwrite: bool,
    engine: dict[str, Any],
    console: Console,
) -> None:
    """Run a workflow that ComfyUI saved, or exported as API, or that a picture holds.

    Its pictures are read from the folder input, and written to the folder output.
    """
    from ...runtime.conditioning.lora.library import LoraLibrary
    from ...runtime.conditioning.prompt.embeddings import read_embedding
    from ...runtime.model.controlnet import find_controlnet
    from ...runtime.model.image_prompt import find_image_prompt
    from ...runtime.model.load import find
    from ...runtime.model.upscaler import find_upscaler
    from ...workflow.bench import Workbench
    from ...workflow.run import examples_of, read_workflow, run_workflow

    if output is not None and not overwrite:
        check_free(output)
    loading = engine | ({"loras": loras} if loras else {}) | ({"lora_mode": lora_mode} if lora_mode else {})
    graph = read_workflow(workflow).with_values(dict(changes))
    bench = Workbench(
        _bundles(models or ["tiny"], find, "overpaint export"),
        folder=folder,
        loading=loading,
        controlnets=_bundles(controlnets, find_controlnet, "overpaint export-controlnet"),
        image_prompts=_bundles(image_prompts, find_image_prompt, "overpaint export-image-prompt"),
        upscalers=_bundles(upscalers, find_upscaler, "overpaint export-upscaler"),
        embeddings=map(read_embedding, embeddings),
        examples=examples_of(workflow),
    )
    LoraLibrary(None).add(loras)  # raises for a path that is not there
    if explain:
        _explain(console, graph, bench)
        return
    result = run_workflow(graph, bench, listener=_listener(console, graph))
    files = list(result.files)
    if output is not None:
        if not files:
            raise InputError("the workflow saves no picture; leave --output out, or add SaveImage to it")
        saved = [file for file in files if file.is_relative_to(bench.folders["output"])] or files
        shutil.copyfile(saved[-1], output)
        files.append(output)
    console.add(
        files=[{"path": str(file)} for file in files],
        outputs={id: dict(shown) for id, shown in result.outcome.shown.items()},
        node_errors=result.outcome.report.node_errors(graph),
    )
    for file in files:
        console.say(str(file))
    for cause in result.outcome.report.causes(graph):
        console.note(f"not all runs: {cause}")


def _bundles(words: list[str], find: Callable[[str], Path], maker: str) -> dict[str, str]:
    """The names and bundles of an option's words; raises `InputError` for a bundle that is not there."""
    from ...bundles.format import read_any
    from ...workflow.bench import names_of

    named = names_of(words)
    for source in named.values():
        read_any(find(source), maker)
    return named


def _explain(console: Console, graph: Workflow, bench: Workbench) -> None:
    from ...workflow.registry import standard
    from ...workflow.run import explain as planned_nodes

    planned = planned_nodes(graph, standard(), bench)
    total = sum(each.evaluations or 0 for each in planned)
    for place, each in enumerate(planned, 1):
        cost = "?" if each.evaluations is None else str(each.evaluations or "-")
        title = f"  {each.title}" if each.title and each.title != each.kind else ""
        console.say(f"{place:>3}  {each.node:>4}  {each.kind:<28} {'kept' if each.cached else cost:>6}{title}")
    unknown = sum(each.evaluations is None for each in planned)
    console.say(
        f"{total} evaluations of the model" + (f", and those of {unknown} nodes with listed sigmas" * bool(unknown))
    )
    console.add(nodes=[vars(each) for each in planned], evaluations=total)


def _listener(console: Console, graph: Workflow) -> Callable[[Event], None]:
    from ...workflow.events import NodeDone, NodeStarted

    def listen(event: Event) -> None:
        if isinstance(event, NodeStarted) and console.verbose:
            step = graph.steps[event.node]
            console.say(f"{event.node}: {step.title or step.kind}")
        elif isinstance(event, NodeDone) and event.shown and "text" in event.shown:
            console.say(f"{event.node}: {' '.join(event.shown['text'])}")

    return listen


def change(word: str) -> tuple[str, Any]:
    """A change such as 3.seed=7: the value is JSON, or else a text."""
    path, equals, value = word.partition("=")
    if not equals or "." not in path:
        raise argparse.ArgumentTypeError(f"{word!r} is no change; write one as 3.seed=7: node, input and value")
    try:
        return path, json.loads(value)
    except ValueError:
        return path, value


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("run", help="run a workflow of ComfyUI", description=run.__doc__)
    parser.set_defaults(command=run)
    parser.add_argument(
        "workflow", metavar="WORKFLOW", type=Path, help="a .json that ComfyUI saved, or a .png with one"
    )
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, help="a copy of the last picture that is saved")
    parser.add_argument(
        "--set", dest="changes", metavar="NODE.INPUT=VALUE", type=change, action="append", default=[],
        help="another value for an input, such as 3.seed=7",
    )  # fmt: skip
    parser.add_argument(
        "--model", dest="models", metavar="NAME[=BUNDLE]", action="append", default=[],
        help="a bundle, and the name that the workflow has for it: v1-5.safetensors=bundles/sd15 (tiny)",
    )  # fmt: skip
    parser.add_argument(
        "--lora", dest="loras", metavar="PATH", type=Path, action="append", default=[],
        help="a LoRA's file, or a folder of them",
    )  # fmt: skip
    add_mode(parser)
    for option, dest, what in (
        ("--controlnet", "controlnets", "a ControlNet's"),
        ("--image-prompt", "image_prompts", "an image-prompt adapter's"),
        ("--upscaler", "upscalers", "an upscaler's"),
    ):
        parser.add_argument(
            option, dest=dest, metavar="NAME[=BUNDLE]", action="append", default=[],
            help=f"{what} bundle, and the name that the workflow has for it",
        )  # fmt: skip
    add_embedding(parser)
    parser.add_argument(
        "--folder", type=Path, default=Path(), help="holds the folders input, output and temp (the current one)"
    )
    parser.add_argument("--explain", action="store_true", help="print the order and the cost, without running it")
    add_overwrite(parser)
    add_engine(parser)
    add_console(parser)
