"""The options: one table, from which checks, arguments, axes, aliases, schemas and pages are made."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from ...errors import unknown
from .option import TOOLS, Option
from .table.adapters import ADAPTERS
from .table.calls import CALL, FILE
from .table.canvas import CANVAS
from .table.inpainting import INPAINTING
from .table.micro import MICRO
from .table.noise import NOISE
from .table.outpainting import OUTPAINTING
from .table.prompting import PROMPTING
from .table.sampling import SAMPLING
from .table.upscaling import UPSCALING

SECTIONS: Mapping[str, tuple[Option, ...]] = MappingProxyType(
    {
        "prompting": PROMPTING,
        "adapters": ADAPTERS,
        "sampling": SAMPLING,
        "noise": NOISE,
        "canvas": CANVAS,
        "micro-conditioning": MICRO,
        "inpainting": INPAINTING,
        "outpainting": OUTPAINTING,
        "upscaling": UPSCALING,
        "call": CALL,
        "file": FILE,
    }
)
TABLE: tuple[Option, ...] = tuple(option for options in SECTIONS.values() for option in options)
# The fields of a `Request`, which all tools work with.
_REQUEST = (*PROMPTING, *ADAPTERS, *SAMPLING, *NOISE, *CANVAS, *MICRO)


@cache
def of_tool(tool: str) -> Mapping[str, Option]:
    """The options of a tool by their names; raises `InputError` for an unknown tool."""
    if tool not in TOOLS:
        raise unknown("tool", tool, TOOLS, "tool")
    return MappingProxyType({option.name: option for option in TABLE if tool in option.tools})


@cache
def offered(verb: str) -> frozenset[str]:
    """What the verb of a tool takes by name beside its pictures and its prompt: no file is written there."""
    return frozenset(of_tool(verb).keys() - {"prompt", *(option.name for option in FILE)})


@cache
def fields_of(kind: str) -> Mapping[str, Option]:
    """The options of one dataclass by its fields' names: "request", or a tool's own, such as "inpainting"."""
    rows = _REQUEST if kind == "request" else SECTIONS[kind]
    made: dict[str, Option] = {}
    for option in rows:
        made.setdefault(option.name, option)  # of two of one name the first is a request's own
    return MappingProxyType(made)


def default(name: str, kind: str = "request") -> Any:
    """What the field of a dataclass is where nothing is said."""
    return fields_of(kind)[name].default


def aliases() -> dict[str, str]:
    """Other programs' names that mean an option, and the option's own."""
    return {alias: option.name for option in TABLE for alias in option.aliases.values()}


def elsewhere() -> dict[str, str]:
    """Other programs' names of what is given in another way here, and the name of that."""
    return {name: option.name for option in TABLE for names in option.elsewhere.values() for name in names}


def fixed_on_resume() -> tuple[str, ...]:
    """The fields of a request that a run going on from a snapshot cannot change: what its steps began with."""
    return ("image", *(name for name, option in fields_of("request").items() if option.affects == "start"))
