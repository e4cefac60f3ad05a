"""The command that makes a bundle of an image-prompt adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..common import extra
from ..console import report
from ..exporting import add_bundle, add_replacing


def export_image_prompt(checkpoint: Path, bundle: Path, **options: Any) -> None:
    """Turn an IP-Adapter's weights and its image encoder into a bundle."""
    with extra("export"):
        from ...export.image_prompt import export_image_prompt as run
    print(run(checkpoint, bundle, report=report, **options).describe())


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "export-image-prompt",
        help="turn an image-prompt adapter into a bundle",
        description=export_image_prompt.__doc__,
    )
    parser.set_defaults(command=export_image_prompt)
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="a .safetensors file of an IP-Adapter, Full or Plus, or a diffusers folder that was saved with one",
    )
    parser.add_argument(
        "--encoder", type=Path, metavar="DIR", help="its CLIP image encoder (image_encoder beside the checkpoint)"
    )
    add_bundle(parser)
    add_replacing(parser)
