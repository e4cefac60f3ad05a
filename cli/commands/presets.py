"""The command that prints the presets."""

from __future__ import annotations

import textwrap
from typing import Any


def presets() -> None:
    """Print the presets: what each is for, the commands it belongs to, its options, and why they are what they are."""
    from ...runtime.requests.presets import PRESETS

    for preset in PRESETS.values():
        options = ", ".join(f"{name} {value}" for name, value in preset.options.items())
        print(f"{preset.name}: {preset.use}, --preset {preset.name} with {' or '.join(preset.commands)}")
        for text in (options, preset.why):
            print(textwrap.fill(text, 110, initial_indent="    ", subsequent_indent="    "))


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("presets", help="print named sets of options", description=presets.__doc__)
    parser.set_defaults(command=presets)
