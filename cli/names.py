"""The names that options take, for the help: read from the tables that define them, when the help is asked for."""

from __future__ import annotations

from collections.abc import Iterable

from .parser import CommandParser


def list_sampling(parser: CommandParser) -> None:
    """List samplers, schedules and conventions under a command's help."""
    parser.lists |= {"samplers": _samplers, "schedules": _schedules, "conventions": _conventions}


def list_presets(parser: CommandParser, command: str) -> None:
    """List a command's presets under its help."""
    parser.lists["presets"] = lambda: _presets(command)


def _samplers() -> Iterable[str]:
    from ..runtime.sampling.samplers import SAMPLERS

    return SAMPLERS


def _schedules() -> Iterable[str]:
    from ..runtime.sampling.names import SCHEDULES

    return SCHEDULES


def _conventions() -> Iterable[str]:
    from ..runtime.sampling.strength import CONVENTIONS

    return CONVENTIONS


def _presets(command: str) -> Iterable[str]:
    from ..runtime.requests.presets import PRESETS

    return [preset.name for preset in PRESETS.values() if command in preset.commands]
