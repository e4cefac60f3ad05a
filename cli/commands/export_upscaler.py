"""The command that makes a bundle of an upscaler's weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common import extra
from ..console import report

if TYPE_CHECKING:
    pass
from ..exporting import add_bundle, add_replacing


def export_upscaler(checkpoint: Path, bundle: Path, **options: Any) -> None:
    """Turn an upscaler's weights into a bundle."""
    with extra("export"):
        from ...export.upscaler import export_upscaler as run
    print(run(checkpoint, bundle, report=report, **options).describe())


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "export-upscaler", help="turn an upscaler into a bundle", description=export_upscaler.__doc__
    )
    parser.set_defaults(command=export_upscaler)
    parser.add_argument(
        "checkpoint", type=Path, help="a .safetensors or .pth file of the ESRGAN family (RRDBNet or SRVGGNetCompact)"
    )
    add_bundle(parser)
    add_replacing(parser)
