"""Arguments made from the options table."""

from __future__ import annotations

from typing import Any

from ..runtime.requests.option import Option
from ..runtime.requests.options import of_tool
from . import values

_TYPES = {
    "number": float,
    "whole": int,
    "seed": values.seed,
    "size": values.size,
    "numbers": values.numbers,
    "blur": values.blur,
    "colour": values.colour,
}


def add_options(parser: Any, tool: str, *names: str, **changes: Any) -> None:
    """Options of a tool by their names; `changes` are keywords of `add_argument` that are others here."""
    for name in names:
        option = of_tool(tool)[name]
        parser.add_argument(*flags(option), dest=name, **{**_keywords(option), **changes})


def flags(option: Option) -> tuple[str, ...]:
    """How an option is called on the command line."""
    negated = "no-" if option.default is True else ""
    return option.flags or (f"--{negated}{option.name.replace('_', '-')}",)


def _keywords(option: Option) -> dict[str, Any]:
    # What words say of what is not given, and what is empty, is left to the runtime.
    default = None if option.usual or option.default == () else option.default
    if option.kind == "flag":
        negated = option.default is True
        help_ = f"do not {option.help}" if negated else option.help
        return {"action": "store_false" if negated else "store_true", "default": default, "help": help_}
    keywords = {"default": default, "metavar": option.metavar, "help": option.sentence.replace("%", "%%")}
    if option.kind == "texts":
        return {**keywords, "action": "append", "help": f"{option.sentence}; may be repeated"}
    if option.affects == "file":  # which is written when all work is done
        return {**keywords, "type": values.whole(int(option.least), int(option.most))}
    return {**keywords, "type": _TYPES.get(option.kind)}
