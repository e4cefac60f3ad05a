"""The command that makes a model repository for NVIDIA Triton Inference Server."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def export_triton(bundle: Path, repository: Path, name: str | None, settings: list[str]) -> None:
    """Put a bundle into a model repository of NVIDIA Triton, whose python backend then runs it.

    Triton's Python needs overpaint with an engine, such as `pip install 'overpaint[cpu]'`.
    """
    from ...bundles.manifest import Bundle
    from ...errors import InputError
    from ...export.publish import scratch
    from ...runtime.model.load import find
    from ...serving.triton.repository import TritonModel

    texts = dict[str, str]()
    for setting in settings:
        own, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"{setting!r} is no setting; write NAME=VALUE", "setting")
        texts[own.strip()] = text
    read = Bundle.read(find(bundle))
    model = TritonModel(name or read.folder.resolve().name, read.folder, texts)
    target = repository / model.name
    if target.exists():
        raise InputError(f"{target}: exists already; choose another --name, or remove it", "name")
    with scratch(target) as partial:
        model.write(partial)
        partial.rename(target)
    print(f"{target}: run tritonserver --model-repository {repository}")


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "export-triton", help="put a bundle into a model repository of NVIDIA Triton", description=export_triton.__doc__
    )
    parser.set_defaults(command=export_triton)
    parser.add_argument("bundle", type=Path, help="a bundle's folder, or the name of a bundled one such as tiny")
    parser.add_argument("repository", type=Path, help="the model repository's folder, which need not exist")
    parser.add_argument("--name", metavar="NAME", help="what Triton calls the model (the bundle's folder)")
    parser.add_argument(
        "--setting",
        dest="settings",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a setting of `overpaint serve`, such as device=cuda, threads=4 or queue_limit=32; may be repeated",
    )
