r"""The edits of a prompt as A1111 1.10 reads them: `[a:b:n]`, `[a|b]`, and the text around.

Its grammar knows brackets only to find these. A text with a `|` outside of square brackets, or with a backslash before
nothing, has no edits at all. (A1111's `prompt_parser.get_learned_conditioning_prompt_schedules`.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from .scan import fault

DEEPEST = 64
STRAY = "()[]:"

_PLAIN = re.compile(r"(?:[^\\\[\]():|]|\\.)+")
_WHEN = re.compile(r"\s*([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)\s*\]")


@dataclass(frozen=True)
class Clock:
    """How the steps of edits count: `steps` evaluations in all, of which a hires pass has left `done` behind.

    A whole number in an edit counts evaluations, one with a point is a fraction; the passes before a hires pass take up
    `done` of the first and `passes` of the second.
    """

    steps: int
    done: int = 0
    passes: int = 0

    def moment(self, number: str) -> int:
        """The last evaluation before the change, counted from 0; below 1 there is none."""
        value = float(number)
        return min(int((value - self.passes) * self.steps if "." in number else value - self.done), self.steps)


@dataclass(frozen=True)
class Edit:
    """`[before:after:number]`."""

    before: Script
    after: Script
    number: str

    def at(self, step: int, clock: Clock) -> Script:
        """What stands there at a step."""
        return self.before if step <= clock.moment(self.number) else self.after

    def ends(self, clock: Clock) -> Iterator[int]:
        """The steps after which something else stands there."""
        yield clock.moment(self.number)
        for side in (self.before, self.after):
            yield from ends_of(side, clock)


@dataclass(frozen=True)
class Turns:
    """`[a|b|...]`."""

    options: tuple[Script, ...]

    def at(self, step: int, _clock: Clock) -> Script:
        """What stands there at a step."""
        return self.options[(step - 1) % len(self.options)]

    def ends(self, clock: Clock) -> Iterator[int]:
        """Every step."""
        yield from range(1, clock.steps + 1)


Script = tuple[str | Edit | Turns, ...]
"""A prompt's text with its edits."""


def script(text: str) -> Script:
    """The edits of a text; none of them where a `|` or a backslash stands alone."""
    reader, nodes, place = _Reader(text), list[str | Edit | Turns](), 0
    while True:
        items, end = reader.items(place)
        if end < len(text) and text[end] not in STRAY:
            return (text,)
        if reader.refuses(items, end):
            continue
        nodes += items
        if end == len(text):
            return tuple(nodes)
        nodes.append(text[end])
        place = end + 1


def ends_of(nodes: Script, clock: Clock) -> Iterator[int]:
    """The steps after which a text is another, as they come."""
    for node in nodes:
        if not isinstance(node, str):
            yield from node.ends(clock)


def text_at(nodes: Script, step: int, clock: Clock) -> str:
    """The text of a step."""
    return "".join(node if isinstance(node, str) else text_at(node.at(step, clock), step, clock) for node in nodes)


class _Reader:
    """Recursive descent over a text; a bracket that is not well formed is read by nobody here."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts: dict[int, int] = {}
        self._refused: set[int] = set()

    def refuses(self, items: Script, end: int) -> bool:
        """Whether the edit at the very end of what was read up to a place is text after all; it is not read again.

        A1111's parser generator has to choose between an edit and text where signs that belong to nothing follow. It
        chooses by their number, with the brackets that close around the edit: where that is even, for text.
        """
        closers = list(takewhile(lambda node: node in (")", "]"), reversed(items)))
        stray = sum(1 for _ in takewhile(self._is_stray, range(end, len(self.text))))
        start = self._starts.pop(end - len(closers), None)
        if start is None or not stray or (len(closers) + stray) % 2:
            return False
        self._refused.add(start)
        return True

    def _is_stray(self, place: int) -> bool:
        return self.text[place] in STRAY and self._group(place, 1) is None

    def items(self, place: int, depth: int = 0) -> tuple[Script, int]:
        """What can be read from a place on, and the place after it."""
        if depth > DEEPEST:
            raise fault(self.text, place - 1, f"brackets nest more than {DEEPEST} deep; use fewer")
        nodes: list[str | Edit | Turns] = []
        while True:
            if plain := _PLAIN.match(self.text, place):
                nodes.append(plain[0])
                place = plain.end()
            elif group := self._group(place, depth + 1):
                nodes += group[0]
                place = group[1]
            else:
                return tuple(nodes), place

    def _group(self, place: int, depth: int) -> tuple[Script, int] | None:
        """The bracket that begins at a place, with what it stands for; None where there is none that is well formed."""
        if place in self._refused:
            return None
        if self._is(place, "("):
            return self._round(place, depth)
        return self._square(place, depth) if self._is(place, "[") else None

    def _round(self, place: int, depth: int) -> tuple[Script, int] | None:
        inside, end = self.items(place + 1, depth)
        if self._is(end, ":"):
            after, end = self.items(end + 1, depth)
            inside = (*inside, ":", *after)
        return (("(", *inside, ")"), end + 1) if self._is(end, ")") else None

    def _square(self, place: int, depth: int) -> tuple[Script, int] | None:
        first, end = self.items(place + 1, depth)
        if self._is(end, "]"):
            return ("[", *first, "]"), end + 1
        if self._is(end, "|"):
            return self._turns(first, end, depth)
        if not self._is(end, ":"):
            return None
        before: Script = ()
        after = first
        number = self._number(end + 1)
        if number is None:
            second, end = self.items(end + 1, depth)
            before, after = first, second
            number = self._number(end + 1) if self._is(end, ":") else None
        if number is None:
            return None
        self._starts[number.end()] = place
        return (Edit(before, after, number[1]),), number.end()

    def _turns(self, first: Script, end: int, depth: int) -> tuple[Script, int] | None:
        options = [first]
        while self._is(end, "|"):
            option, end = self.items(end + 1, depth)
            options.append(option)
        return ((Turns(tuple(options)),), end + 1) if self._is(end, "]") else None

    def _number(self, place: int) -> re.Match[str] | None:
        return _WHEN.match(self.text, place)

    def _is(self, place: int, sign: str) -> bool:
        return self.text[place : place + 1] == sign
