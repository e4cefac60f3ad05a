"""The names that options take, for the help: read from the tables that define them, when the help is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from ..runtime.requests.options import of_tool
from .parser import CommandParser


def list_sampling(parser: CommandParser) -> None:
    """List samplers, schedules and conventions under a command's help."""
    options = of_tool("img2img")
    for name in ("sampler", "schedule", "convention"):
        parser.lists[f"{name}s"] = partial(iter, options[name].choices)


def list_presets(parser: CommandParser, command: str) -> None:
    """List a command's presets under its help."""
    parser.lists["presets"] = lambda: _presets(command)


def _presets(command: str) -> Iterable[str]:
    from ..runtime.requests.presets import PRESETS

    return [preset.name for preset in PRESETS.values() if command in preset.commands]
