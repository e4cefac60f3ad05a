"""The `overpaint` command: a function a command; it parses, calls and prints."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

from .. import __version__
from . import again, bundles, edit, many, paint, presets, upscale

# Options that are handed on to `overpaint.load`.
ENGINE = ("engine", "device", "precision", "threads", "verify")
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 bad usage, 3 done in part, 130 interrupted."""
    # What Pillow thinks of odd metadata: notes say what matters of it.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    parser = _parser()
    arguments = vars(parser.parse_args(argv))
    if arguments.pop("preset", None):
        # Its options are defaults by now: those that are given win.
        arguments = vars(parser.parse_args(argv))
        arguments.pop("preset")
    command = arguments.pop("command")
    if "threads" in arguments:
        arguments["engine"] = {name: arguments.pop(name) for name in ENGINE}
    from ..engines.base import InputError, OverpaintError

    try:
        return command(**arguments) or DONE
    except OverpaintError as exc:
        print(f"overpaint: {exc}", file=sys.stderr)
        return USAGE if isinstance(exc, InputError) else FAILED
    except KeyboardInterrupt:
        print("overpaint: interrupted; nothing half-written is left", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="overpaint", description="Repaint pictures with a latent-diffusion model.")
    parser.add_argument("--version", action="version", version=f"overpaint {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (paint, edit, upscale, many, again, presets, bundles):
        module.add(commands)
    return parser
