"""The command that makes an int8 bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass
from ..exporting import add_calibration, quantizer


def quantize(bundle: str, target: Path, overwrite: bool, **calibration: Any) -> None:
    """Turn a bundle into one whose U-Net and VAE are int8, calibrated on runs of its own."""
    from ...runtime.model.load import find

    print(quantizer(**calibration)(find(bundle), target, overwrite).describe())


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "quantize", help="turn a bundle's U-Net and VAE into int8", description=quantize.__doc__
    )
    parser.set_defaults(command=quantize)
    parser.add_argument("bundle", help="a float32 bundle's folder, or the name of a bundled one")
    parser.add_argument("target", type=Path, help="the folder to make")
    add_calibration(parser)
