"""The options table as a text for a terminal, and as a page of the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from ...bundles.facts import USUAL
from .option import AFFECTS, TOOLS, Option
from .options import SECTIONS, of_tool

_KINDS = {
    "seed": "whole number",
    "text": "text",
    "flag": "yes or no",
    "size": "width, height",
    "texts": "texts",
    "colour": "red, green, blue",
    "object": "only in Python",
}
_TITLES = {"call": "Calls", "file": "Files"}
_WIDTH = 110


def lines(tool: str) -> list[str]:
    """A tool's options for a terminal: name, values, and what it is; raises `InputError` for another tool."""
    made = []
    for option in of_tool(tool).values():
        text = f"{option.sentence}. Alters {AFFECTS[option.affects]}."
        made += [f"{option.name}: {values(option)}"]
        made += textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")
    return made


def markdown() -> str:
    """The page docs/options.md."""
    usual = "; ".join(f"{tool} {defaults}" for tool, defaults in USUAL.items())
    affects = ", ".join(f"*{name}* {text}" for name, text in AFFECTS.items())
    paragraphs = (
        "`overpaint options --markdown` writes this page from `runtime/requests/options.py`, the table from which "
        "checks, arguments and axes are made too. `overpaint options --tool inpaint` prints one tool's, with `--json` "
        'as a JSON schema, which is `overpaint.options_schema("inpaint")` in Python. On the command line names have '
        "dashes, and a few are shorter: see `overpaint COMMAND --help`.",
        f"Where a model names no others, its own are: {usual}.",
        f"What a change of an option alters: {affects}. A run goes on from a snapshot with other options of all kinds "
        "but *start*.",
    )
    parts = ["# Options\n", *(f"{textwrap.fill(text, 120)}\n" for text in paragraphs)]
    for name, options in SECTIONS.items():
        parts += [f"## {_TITLES.get(name, name.capitalize())}\n", _table(options)]
    return "\n".join(parts)


def values(option: Option) -> str:
    """What an option's values are, in words."""
    match option.kind:
        case "name":
            return ", ".join(option.choices)
        case "label":
            return f"name of a {option.name}"
        case "numbers":
            return f"numbers {_range(option)}"
        case "blur":
            return f"number {_range(option)}, or two, for x and y"
        case "number" | "whole":
            kind = "whole number" if option.kind == "whole" else "number"
            return f"{kind} {_range(option)}".strip()
    return _KINDS[option.kind]


def _range(option: Option) -> str:
    if option.most == float("inf"):
        return "" if option.least == float("-inf") else f"from {option.least:g}"
    return f"{_number(option.least)} to {_number(option.most)}"


def _number(value: float) -> str:
    exponent = int(abs(value)).bit_length() - 1
    return f"{value:g}" if abs(value) < 2**32 else f"{'-' if value < 0 else ''}2^{exponent}"


def _table(options: Iterable[Option]) -> str:
    rows = ["| option | values | what it is | alters | of |", "| --- | --- | --- | --- | --- |"]
    for option in options:
        tools = "all" if option.tools == TOOLS else ", ".join(option.tools)
        cells = (f"`{option.name}`", values(option), _sentence(option), option.affects, tools)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*rows, ""])


def _sentence(option: Option) -> str:
    others = [f"`{name}` in {program}" for program, name in option.aliases.items()]
    others += [f"`{name}` in {program}" for program, names in option.elsewhere.items() for name in names]
    return "; ".join([option.sentence, *others])
