"""The command that makes a bundle of a ControlNet's weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..common import extra
from ..console import report
from ..exporting import add_bundle, add_replacing


def export_controlnet(checkpoint: Path, bundle: Path, **options: Any) -> None:
    """Turn a ControlNet's weights into a bundle, for any model of its family."""
    with extra("export"):
        from ...export.controlnet import export_controlnet as run
    print(run(checkpoint, bundle, report=report, **options).describe())


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "export-controlnet", help="turn a ControlNet into a bundle", description=export_controlnet.__doc__
    )
    parser.set_defaults(command=export_controlnet)
    parser.add_argument(
        "checkpoint", type=Path, help="a diffusers folder with config.json, or a .safetensors file of one ControlNet"
    )
    add_bundle(parser)
    parser.add_argument(
        "--preprocessor",
        default="none",
        metavar="NAME",
        help="what makes its hints of a picture where a request names no other, such as canny (none)",
    )
    parser.add_argument(
        "--global-pool",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="each residual is its mean over the picture, as shuffle's has to be; no single file says it (what "
        "config.json says)",
    )
    add_replacing(parser)
