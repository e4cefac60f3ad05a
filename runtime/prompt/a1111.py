r"""Prompts read the way A1111 1.10 reads them, oddities included, for the convention of its name.

A1111 reads a prompt three times, each time as plain text: AND splits it; `[a:b:n]` and `[a|b]` are replaced by what
stands there at a step; and the result's brackets become weights. So a bracket may begin in one text of an edit and end
after it, a `|` outside of square brackets turns editing off, and AND splits even inside brackets. `grammar` reads the
same language as a tree and refuses what is broken. (A1111's modules `prompt_parser` and `processing_scripts.comments`.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from .scan import fault
from .tree import Fragment, Phrase, check_weight

MORE, LESS = 1.1, 1 / 1.1
DEEPEST = 64
BREAK = "BREAK"
STRAY = "()[]:"
SECOND_ORDER = frozenset({"heun", "dpm2", "dpm2_a", "dpmpp_sde", "dpmpp_2s_a", "restart"})
"""The samplers of which A1111 counts two evaluations a step."""

_COMMENT = re.compile(r"(?:^|\n)?#[^\n]*(?:\n|$)")
_AND = re.compile(r"\bAND\b")
_WEIGHT_AT_END = re.compile(r"\s*(?::\s*([-+]?(?:\d+\.?|\d*\.\d+)))?\s*$")
_PLAIN = re.compile(r"(?:[^\\\[\]():|]|\\.)+")
_WHEN = re.compile(r"\s*([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)\s*\]")
_BRACKETS = re.compile(r":\s*(?P<weight>[+-]?[.\d]+)\s*\)|\\(?P<escaped>[()\[\]\\]?)|[()\[\]:]|[^\\()\[\]:]+")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


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
            yield from _ends(side, clock)


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


def phrases(script: Script, clock: Clock, count: int) -> list[Phrase]:
    """The phrase of each of `count` evaluations; equal ones are the same object.

    A change happens after its step has run, so the first text lasts an evaluation longer than its number says; past the
    last step the first text comes back. (A1111 compares `current_step <= end_at_step`, both from 0.)
    """
    ends = sorted({clock.steps, *(end for end in _ends(script, clock) if end >= 1)})
    texts = {end: weigh(_text(script, end, clock)) for end in ends}
    return [texts[next((end for end in ends if step <= end), ends[0])] for step in range(count)]


def without_comments(text: str) -> str:
    """A prompt without what stands between a `#` and the end of its line."""
    return _COMMENT.sub("\n", text)


def operands(text: str) -> list[tuple[str, float]]:
    """The texts that AND joins, each with the number after its last colon for its weight, or 1."""
    return [_weighted(operand) for operand in _AND.split(text)]


def _weighted(operand: str) -> tuple[str, float]:
    # It always matches, if only the end of the text.
    found = _WEIGHT_AT_END.search(operand)
    return (operand[: found.start()], float(found[1] or 1)) if found else (operand, 1.0)


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


def weigh(text: str) -> Phrase:
    """A text's fragments with their weights; brackets that close nothing are text, open ones go on to the end."""
    pieces: list[tuple[str, float]] = []
    open_: dict[str, list[int]] = {"(": [], "[": []}

    def close(bracket: str, factor: float) -> None:
        start = open_[bracket].pop()
        pieces[start:] = [(piece, weight * factor) for piece, weight in pieces[start:]]

    for found in _BRACKETS.finditer(text):
        sign = found[0]
        if found["escaped"] is not None:
            pieces.append((found["escaped"], 1.0))
        elif sign in open_:
            open_[sign].append(len(pieces))
        elif found["weight"] and open_["("]:
            close("(", _number(text, found))
        elif sign == ")" and open_["("]:
            close("(", MORE)
        elif sign == "]" and open_["["]:
            close("[", LESS)
        else:
            pieces += _broken_up(sign)
    for bracket, factor in (("(", MORE), ("[", LESS)):
        while open_[bracket]:
            close(bracket, factor)
    return Phrase(_chunks(pieces), "a1111-exact")


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


def _ends(nodes: Script, clock: Clock) -> Iterator[int]:
    for node in nodes:
        if not isinstance(node, str):
            yield from node.ends(clock)


def _text(nodes: Script, step: int, clock: Clock) -> str:
    return "".join(node if isinstance(node, str) else _text(node.at(step, clock), step, clock) for node in nodes)


def _number(text: str, found: re.Match[str]) -> float:
    try:
        return float(found["weight"])
    except ValueError:
        raise fault(text, found.start(), f"{found['weight']!r} is no number; write one like 1.3") from None


def _broken_up(text: str) -> Iterator[Fragment]:
    """A text at its BREAKs, which stand between with the weight -1."""
    first, *others = _BREAK.split(text)
    yield first, 1.0
    for other in others:
        yield BREAK, -1.0
        yield other, 1.0


def _chunks(pieces: list[Fragment]) -> tuple[tuple[Fragment, ...], ...]:
    """Neighbours of equal weight joined; a BREAK that no bracket has weighted begins a chunk."""
    joined: list[Fragment] = []
    for text, weight in pieces:
        if joined and joined[-1][1] == weight:
            joined[-1] = joined[-1][0] + text, weight
        else:
            joined.append((text, weight))
    chunks: list[list[Fragment]] = [[]]
    for text, weight in joined:
        if (text, weight) == (BREAK, -1.0):
            chunks.append([])
        elif text := _fixed(text):
            check_weight(weight)
            chunks[-1].append((text, weight))
    return tuple(tuple(chunk) for chunk in chunks)


def _fixed(text: str) -> str:
    """A fragment as ftfy leaves it: A1111's CLIP tokenizer begins with that."""
    if text.isascii() and "&" not in text:  # nothing to fix, and importing ftfy takes 0.2 s
        return text
    from ftfy import fix_text

    return fix_text(text)
