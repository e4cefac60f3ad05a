"""The command that prints the options table."""

from __future__ import annotations

import json
from typing import Any

from ...runtime.requests.option import TOOLS


def options(tool: str, schema: bool, page: bool) -> None:
    """Print a tool's options: their values, what they are, and what a change of them alters."""
    from ...runtime.requests.page import lines, markdown
    from ...runtime.requests.schema import options_schema

    if page:
        print(markdown(), end="")
    elif schema:
        print(json.dumps(options_schema(tool), indent=2))
    else:
        print("\n".join(lines(tool)))


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("options", help="print what can be asked for", description=options.__doc__)
    parser.set_defaults(command=options)
    parser.add_argument("--tool", choices=TOOLS, default=TOOLS[0], help=f"whose options ({TOOLS[0]})")
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", dest="schema", action="store_true", help="as a JSON schema")
    forms.add_argument("--markdown", dest="page", action="store_true", help="as the page docs/options.md, of all tools")
