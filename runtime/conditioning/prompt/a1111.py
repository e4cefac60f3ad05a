r"""Prompts read the way A1111 1.10 reads them, oddities included, for the convention of its name.

A1111 reads a prompt three times, each time as plain text: AND splits it; `[a:b:n]` and `[a|b]` are replaced by what
stands there at a step; and the result's brackets become weights. So a bracket may begin in one text of an edit and end
after it, a `|` outside of square brackets turns editing off, and AND splits even inside brackets. `grammar` reads the
same language as a tree and refuses what is broken. (A1111's modules `prompt_parser` and `processing_scripts.comments`.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .a1111_edits import Clock, Script, ends_of, text_at
from .scan import fault
from .tree import Fragment, Phrase, check_weight

MORE, LESS = 1.1, 1 / 1.1
BREAK = "BREAK"
SECOND_ORDER = frozenset({"heun", "dpm2", "dpm2_a", "dpmpp_sde", "dpmpp_2s_a", "restart"})
"""The samplers of which A1111 counts two evaluations a step."""

_COMMENT = re.compile(r"(?:^|\n)?#[^\n]*(?:\n|$)")
_AND = re.compile(r"\bAND\b")
_WEIGHT_AT_END = re.compile(r"\s*(?::\s*([-+]?(?:\d+\.?|\d*\.\d+)))?\s*$")
_BRACKETS = re.compile(r":\s*(?P<weight>[+-]?[.\d]+)\s*\)|\\(?P<escaped>[()\[\]\\]?)|[()\[\]:]|[^\\()\[\]:]+")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


def phrases(script: Script, clock: Clock, count: int) -> list[Phrase]:
    """The phrase of each of `count` evaluations; equal ones are the same object.

    A change happens after its step has run, so the first text lasts an evaluation longer than its number says; past the
    last step the first text comes back. (A1111 compares `current_step <= end_at_step`, both from 0.)
    """
    ends = sorted({clock.steps, *(end for end in ends_of(script, clock) if end >= 1)})
    texts = {end: weigh(text_at(script, end, clock)) for end in ends}
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
