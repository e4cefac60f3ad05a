"""What nodes take: links to other nodes' outputs, and widgets whose values are written in the workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError, nearest

ANY = "*"
Lister = Callable[[Any], Sequence[str]]
"""Gives the choices of a widget on a workbench, such as the files of a folder."""


@dataclass(frozen=True)
class Problem:
    """Why a value cannot be an input's, in ComfyUI's words: the type of the error, its message, and the details."""

    type: str
    message: str
    details: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = ""
    """What to do about it, which ComfyUI does not say."""

    def __str__(self) -> str:
        return f"{self.message}: {self.details}" + f"; {self.remedy}" * bool(self.remedy)


@dataclass(frozen=True)
class Socket:
    """An input. `type` is the name of what it takes; `options` are those that an editor reads, such as a tooltip."""

    type: str = ANY
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def widget(self) -> bool:
        """Whether its value can be written in the workflow."""
        return self.type in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")

    @property
    def edited(self) -> bool:
        """Whether an editor has a widget for it."""
        return self.widget and not self.options.get("forceInput")

    def usual(self, bench: Any = None) -> Any:
        """The value that an editor begins with, None where there is none."""
        return self.options.get("default", getattr(self, "default", None))

    def config(self, bench: Any) -> list[Any]:
        """The input as an editor reads it: its type or choices, and its options."""
        return [self.type, dict(self.options)]

    def read(self, name: str, value: Any, bench: Any) -> Any | Problem:
        """A written value as the function takes it, or what is wrong with it."""
        return value


@dataclass(frozen=True)
class Link(Socket):
    """An input that only a link can give."""

    def read(self, name: str, value: Any, bench: Any) -> Any | Problem:
        """Nothing that is written can be it."""
        details = f"{name}"
        return Problem(
            "bad_linked_input", "Bad linked input, must be a length-2 list of [node_id, slot_index]", details
        )


@dataclass(frozen=True)
class Number(Socket):
    """A number from `least` to `most`; `kind` is int or float."""

    kind: type[int] | type[float] = int
    default: float = 0
    least: float = 0
    most: float = 2**63 - 1
    step: float | None = None

    def config(self, bench: Any) -> list[Any]:
        """Its type, default and limits."""
        own = {"default": self.default, "min": self.least, "max": self.most}
        steps = {} if self.step is None else {"step": self.step}
        return [self.type, {**own, **steps, **self.options}]

    def read(self, name: str, value: Any, bench: Any) -> Any | Problem:
        """The number; texts are read as ComfyUI reads them."""
        try:
            number = self.kind(value)
        except (TypeError, ValueError, OverflowError) as exc:
            return _unreadable(name, value, self.type, exc)
        if not number >= self.least:
            return Problem("value_smaller_than_min", f"Value {value} smaller than min of {self.least}", name)
        if number > self.most:
            return Problem("value_bigger_than_max", f"Value {value} bigger than max of {self.most}", name)
        return number


@dataclass(frozen=True)
class Text(Socket):
    """A text."""

    default: str = ""
    multiline: bool = False

    def config(self, bench: Any) -> list[Any]:
        """Its default, and whether it has lines."""
        lines = {"multiline": True} if self.multiline else {}
        return [self.type, {"default": self.default, **lines, **self.options}]

    def read(self, name: str, value: Any, bench: Any) -> Any | Problem:
        """The text of whatever is written."""
        return str(value)


@dataclass(frozen=True)
class Flag(Socket):
    """True or false."""

    default: bool = False

    def config(self, bench: Any) -> list[Any]:
        """Its default."""
        return [self.type, {"default": self.default, **self.options}]

    def read(self, name: str, value: Any, bench: Any) -> Any | Problem:
        """Whether it is true, as Python has it."""
        return bool(value)


@dataclass(frozen=True)
class Choice(Socket):
    """One of some names: those written here, or what `names` gives on a workbench."""

    names: tuple[str, ...] | Lister = ()
    remedy: str = ""
    """What makes a name known."""

    def known(self, bench: Any) -> list[str]:
        """The names that may be chosen."""
        return list(self.names(bench) if callable(self.names) else self.names)

    def usual(self, bench: Any = None) -> Any:
        """Its default or its first choice; without a workbench none of those that depend on one."""
        known = [] if callable(self.names) and bench is None else self.known(bench)
        return self.options.get("default", known[0] if known else None)

    def config(self, bench: Any) -> list[Any]:
        """The choices, in the form that old clients read."""
        return [self.known(bench), dict(self.options)] if self.options else [self.known(bench)]

    def read(self, name: str, value: Any, bench: Any) -> Any | Problem:
        """The choice."""
        known = self.known(bench)
        if value in known:
            return value
        listed = f"{known}" if len(known) <= 20 else f"(list of length {len(known)})"
        remedy = nearest(str(value), map(str, known)) or self.remedy
        return Problem("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {listed}", remedy=remedy)


@dataclass(frozen=True)
class FileChoice(Choice):
    """A picture of a folder; a name such as "a.png [output]" is in another one."""

    def read(self, name: str, value: Any, bench: Any) -> Any | Problem:
        """The name of a file that is there."""
        try:
            there = bench.path(str(value)).is_file()
        except InputError:
            there = False
        if there:
            return str(value)
        return Problem(
            "custom_validation_failed",
            "Custom validation failed for node",
            f"{name} - Invalid image file: {value}",
            remedy=f"it is not in {bench.folders['input']}; put it there",
        )


def _unreadable(name: str, value: Any, kind: str, error: Exception) -> Problem:
    message = f"Failed to convert an input value to a {kind} value"
    return Problem("invalid_input_type", message, f"{name}, {value}, {error}", {"exception_message": str(error)})


def integer(default: int = 0, least: int = 0, most: int = 2**63 - 1, step: int = 1, **options: Any) -> Number:
    """A whole number."""
    return Number("INT", options, int, default, least, most, step)


def decimal(default: float = 0.0, least: float = 0.0, most: float = 1e9, step: float = 0.01, **options: Any) -> Number:
    """A number with fractions."""
    return Number("FLOAT", options, float, default, least, most, step)


def text(default: str = "", multiline: bool = False, **options: Any) -> Text:
    """A text."""
    return Text("STRING", options, default, multiline)


def flag(default: bool = False, **options: Any) -> Flag:
    """True or false."""
    return Flag("BOOLEAN", options, default)


def choice(names: Sequence[str] | Lister, **options: Any) -> Choice:
    """One of some names."""
    return Choice("COMBO", options, names if callable(names) else tuple(names))


def link(kind: str, **options: Any) -> Link:
    """What another node gives of this type."""
    return Link(kind, options)


def matches(given: str, wanted: str) -> bool:
    """Whether an output of one type may go where another is wanted; either may name several, with commas between."""
    if ANY in (given, wanted):
        return True
    return bool(set(given.split(",")) & set(wanted.split(",")))
