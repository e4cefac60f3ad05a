r"""The grammars of prompts, A1111's and ComfyUI's, parsed into a tree.

A1111's: `(x)` and `[x]` multiply the weight by 1.1 and 1 / 1.1, `(x:1.3)` by 1.3; `[a:b:n]`, `[b:n]` and `[a::n]`
change the text at step n, or with a decimal point in n, at that fraction of the steps; `[a|b]` takes turns; `BREAK`
begins a chunk; `a AND b:0.7` composes prompts; a backslash takes the meaning of what follows it. (Its wiki, Features,
"Attention/emphasis", "Prompt editing", "Alternating Words", "Composable Diffusion".)
ComfyUI's: `(x)` and `(x:1.3)`, where a number stands for those of the brackets around it, too; `\(` and `\)`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import partial

from .scan import Symbol, a1111, comfy, fault, pairs
from .tree import Alternation, Body, Break, Moment, Node, Stages, Text, Weighted

MORE, LESS = 1.1, 1 / 1.1
DEEPEST = 64

_NUMBER = re.compile(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*")
_LIKE_A_NUMBER = re.compile(r"[-+.,0-9\s]*")
_EXTRA_NETWORK = re.compile(r"(?<!\\)<(lora|lyco|hypernet):", re.IGNORECASE)
_ESCAPE = r"or put a \ before it where it is meant as text"


def parse_a1111(text: str, literal: bool) -> list[tuple[Body, float]]:
    """The operands of AND, each with its weight.

    Raises `InputError` for what is broken, or where `literal`, takes that for text; and always for the tags of extra
    networks, which mean a change of the model, and for brackets nested more than 64 deep.
    """
    if tag := _EXTRA_NETWORK.search(text):
        raise fault(text, tag.start(), f"{tag[1]} tags are not supported yet; take it out")
    parser = _Parser(text, a1111(text), literal)
    return parser.operands()


def parse_comfy(text: str, literal: bool) -> Body:
    """The whole prompt; raises as `parse_a1111`, but for the tags."""
    parser = _Parser(text, comfy(text), literal, absolute=True)
    return parser.body(0, len(parser.symbols))


@dataclass
class _Parser:
    """Recursive descent over ranges of symbols; the brackets are paired beforehand, so that nothing is read twice."""

    source: str
    symbols: list[Symbol]
    literal: bool
    absolute: bool = False
    closers: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        closers, lone = pairs(self.symbols)
        self.closers = dict(closers)
        for index, reason in lone.items():
            self.broken(index, f"this bracket {reason}; balance it, {_ESCAPE}")

    def broken(self, index: int, reason: str) -> None:
        """Refuse what is at a symbol, unless broken prompts are to be taken literally."""
        if not self.literal:
            raise fault(self.source, self.symbols[index].start, reason)

    def operands(self) -> list[tuple[Body, float]]:
        """The prompts that AND joins; a weight is only read where there is an AND."""
        end = len(self.symbols)
        ands = self.own(0, end, "AND")
        if not ands:
            return [(self.body(0, end), 1.0)]
        return [self.operand(i + 1, j) for i, j in zip([-1, *ands], [*ands, end], strict=True)]

    def operand(self, start: int, end: int) -> tuple[Body, float]:
        """One of them: everything up to the colon before its weight, if it has one."""
        colon, weight = self.number_at_end(start, end)
        return self.body(start, colon), 1.0 if weight is None else weight

    def body(self, start: int, end: int, depth: int = 0) -> Body:
        """The nodes of a range of symbols."""
        nodes: list[Node] = []
        index = start
        while index < end:
            symbol, closer = self.symbols[index], self.closers.get(index)
            if closer is not None and closer <= end:
                if depth == DEEPEST:
                    raise fault(self.source, symbol.start, f"brackets nest more than {DEEPEST} deep; use fewer")
                group = self.round if symbol.text == "(" else self.square
                nodes += group(index, closer, depth + 1)
                index = closer
            elif symbol.is_mark and symbol.text == "BREAK":
                nodes.append(Break())
            elif symbol.is_mark and symbol.text == "AND" and depth:
                self.broken(index, "AND joins whole prompts; take it out of the brackets")
                nodes.append(Text("AND"))
            else:
                nodes.append(Text(symbol.text))
            index += 1
        return tuple(nodes)

    def round(self, opener: int, closer: int, depth: int) -> Body:
        """`(x)` or `(x:1.3)`; a bracket that is never closed has no number."""
        colon, weight = closer, None
        if closer < len(self.symbols):
            colon, weight = self.number_at_end(opener + 1, closer)
        body = self.body(opener + 1, colon, depth)
        return (Weighted(body, MORE if weight is None else weight, self.absolute and weight is not None),)

    def square(self, opener: int, closer: int, depth: int) -> Body:
        """`[x]`, `[a|b]`, `[b:n]`, `[a:b:n]`; whatever is none of them is `[x]`."""
        inside = partial(self.own, opener + 1, closer)
        bars, colons = inside("|"), inside(":")
        fits = closer < len(self.symbols)
        if fits and bars and not colons:
            return (Alternation(tuple(self.body(i + 1, j, depth) for i, j in _spans(opener, bars, closer))),)
        if fits and colons and not bars and (edit := self.edit(opener, colons, closer, depth)):
            return (edit,)
        if bars and colons:
            self.broken(opener, r"[a|b] and [a:b:n] in one bracket; nest them, or write \| or \: for text")
        return (Weighted(self.body(opener + 1, closer, depth), LESS),)

    def edit(self, opener: int, colons: list[int], closer: int, depth: int) -> Stages | None:
        """`[b:n]` or `[a:b:n]`; None where it is broken."""
        number = self.raw(colons[-1] + 1, closer)
        moment = _number(number)
        if moment is None or len(colons) > 2:
            wrong = "has too many colons" if moment is not None else f"wants a number of steps, not {number.strip()!r}"
            self.broken(opener, rf"prompt editing {wrong}; write [from:to:when], or \: for a colon that is text")
            return None
        *before, after = [self.body(i + 1, j, depth) for i, j in _spans(opener, colons[:-1], colons[-1])]
        return Stages((before[0] if before else (), after), (Moment(moment, "." in number),))

    def number_at_end(self, start: int, end: int) -> tuple[int, float | None]:
        """The last colon and the number between it and `end`; `end` and None where there is none."""
        colons = self.own(start, end, ":")
        raw = self.raw(colons[-1] + 1, end) if colons else ""
        weight = _number(raw)
        if weight is not None:
            return colons[-1], weight
        if colons and _LIKE_A_NUMBER.fullmatch(raw):
            self.broken(colons[-1], f"{raw.strip()!r} is no weight; write a number like 1.3, {_ESCAPE}")
        return end, None

    def own(self, start: int, end: int, mark: str) -> list[int]:
        """Where a mark stands in a range, outside of the brackets in it."""
        found, index = [], start
        while index < end:
            symbol = self.symbols[index]
            if symbol.is_mark and symbol.text == mark:
                found.append(index)
            index = min(self.closers.get(index, index), end) + 1
        return found

    def raw(self, start: int, end: int) -> str:
        """The source of a range of symbols, escapes and all."""
        first = self.symbols[start].start if start < len(self.symbols) else len(self.source)
        return self.source[first : self.symbols[end].start if end < len(self.symbols) else len(self.source)]


def _spans(opener: int, marks: list[int], closer: int) -> list[tuple[int, int]]:
    return list(zip([opener, *marks], [*marks, closer], strict=True))


def _number(raw: str) -> float | None:
    """A finite number, or None."""
    value = float(raw) if _NUMBER.fullmatch(raw) else math.nan
    return value if math.isfinite(value) else None
