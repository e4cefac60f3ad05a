"""What an option is: a row of the table from which checks, arguments, schemas and pages are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

Kind = Literal[
    "number",  # from `least` to `most`
    "whole",  # the same, without fractions
    "seed",  # a whole number, of which -1 draws one
    "name",  # one of `choices`
    "label",  # one of `choices`, or what other programs call it
    "text",
    "flag",
    "size",  # (width, height) in pixels
    "numbers",  # a tuple of numbers from `least` to `most`
    "texts",
    "blur",  # a number from 0 to `most`, or (along x, along y)
    "colour",  # (red, green, blue), 0 to 255
    "object",  # what only Python can say: masks, functions
]
Affects = Literal["plan", "start", "rows", "picture", "file", "run"]
AFFECTS: Mapping[Affects, str] = {
    "plan": "the table of steps",
    "start": "what the steps begin with",
    "rows": "what the model is asked in a step",
    "picture": "the picture after its decoding",
    "file": "only the file",
    "run": "only how the work goes",
}
"""What a change of an option alters, and nothing before it."""

MODEL = "the model's own"
TOOLS = ("img2img", "inpaint", "outpaint", "upscale")
"""The verbs that options are of; a grid and a batch have those of img2img."""

PAINTING = ("img2img", "inpaint", "outpaint")
"""The verbs whose options are those of a run."""


@dataclass(frozen=True)
class Choices:
    """Names that `attribute` of a module of the runtime defines, and `more`. They are read when they are wanted: the
    table imports nothing, so that a command line is quick to begin."""

    module: str
    attribute: str
    more: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        return iter((*self.more, *getattr(import_module(f"...{self.module}", __name__), self.attribute)))


@dataclass(frozen=True)
class Option:
    """One option of one or several verbs.

    `help` says in a line what it is, `usual` what is done where it is not given and no `default` says it: the model's
    or the convention's way. With `own` the value may be `defaults.Times` the model's. Messages call it `noun`.
    `flags` and `metavar` are the command line's, where they are not made from the name. `axis` are values that a grid
    can go along, empty where it cannot. Of other programs' names, by program, `aliases` mean the same, `elsewhere` is
    given in another way.
    """

    name: str
    kind: Kind
    affects: Affects
    help: str
    default: Any = None
    usual: str = ""
    own: bool = False
    least: float = float("-inf")
    most: float = float("inf")
    choices: Choices | tuple[str, ...] = ()
    tools: tuple[str, ...] = TOOLS
    noun: str = ""
    unit: str = ""
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    axis: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.noun or self.name

    @property
    def default_text(self) -> str:
        """What there is where it is not given, in words; empty for nothing."""
        value = self.default
        if self.usual or value is None or value is False or value in ((), ""):
            return self.usual
        if isinstance(value, tuple):
            return ",".join(map(str, value))
        return f"{value:g}" if isinstance(value, float) else str(value)

    @property
    def sentence(self) -> str:
        """The help with what there is where it is not given."""
        return f"{self.help} ({self.default_text})" if self.default_text else self.help
