"""A prompt's text as symbols, and which bracket closes which."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ....errors import InputError

CLOSERS = {"(": ")", "[": "]"}
# How wide the line under which an error puts its caret may be.
WIDEST = 100

_A1111 = re.compile(r"\\(?P<escaped>.?)|(?P<mark>[][():|])|(?P<plain>[^][\\():|]+)", re.DOTALL)
_COMFY = re.compile(r"\\(?P<escaped>[()])|(?P<mark>[():])|(?P<plain>\\|[^\\():]+)")
_WORDS = re.compile(r"\bAND\b|\s*\bBREAK\b\s*")


@dataclass(frozen=True)
class Symbol:
    """Literal text, or where `is_mark`, a sign or word of the grammar; `start` is where it is in the prompt."""

    text: str
    start: int
    is_mark: bool


def a1111(text: str) -> list[Symbol]:
    """The symbols of A1111's grammar. A backslash makes whatever follows it text, and is itself gone."""
    return [symbol for found in _A1111.finditer(text) for symbol in _symbols(found, keywords=True) if symbol.text]


def comfy(text: str) -> list[Symbol]:
    r"""The symbols of ComfyUI's grammar, where only `\(` and `\)` are escapes."""
    return [symbol for found in _COMFY.finditer(text) for symbol in _symbols(found, keywords=False) if symbol.text]


def pairs(symbols: list[Symbol]) -> tuple[Mapping[int, int], Mapping[int, str]]:
    """Which symbol closes which, by index; and the brackets without a partner, in order, with what is wrong.

    A bracket that is never closed is also in the first, closed by the end of the text.
    """
    closed: dict[int, int] = {}
    lone: dict[int, str] = {}
    open_: dict[str, list[int]] = {closer: [] for closer in CLOSERS.values()}
    for index, symbol in enumerate(symbols):
        if symbol.is_mark and symbol.text in CLOSERS:
            open_[CLOSERS[symbol.text]].append(index)
        elif symbol.is_mark and symbol.text in open_:
            if not open_[symbol.text]:
                lone[index] = "closes nothing"
                continue
            opener = open_[symbol.text].pop()
            closed[opener] = index
            for others in open_.values():
                while others and others[-1] > opener:
                    lone[others.pop()] = "is never closed"
    unclosed = [index for others in open_.values() for index in others]
    lone |= dict.fromkeys(unclosed, "is never closed")
    return closed | dict.fromkeys(unclosed, len(symbols)), dict(sorted(lone.items()))


def fault(text: str, start: int, reason: str) -> InputError:
    """An error about a place in a prompt: the reason, the line, and a caret under the place."""
    before, after = text[:start].splitlines() or [""], text[start:].splitlines() or [""]
    left = "" if text[:start].endswith(("\n", "\r")) else before[-1]
    shown = left[-WIDEST // 2 :]
    line = (shown + after[0])[:WIDEST].replace("\t", " ")
    return InputError(f"the prompt cannot be read at character {start + 1}: {reason}\n  {line}\n  {' ' * len(shown)}^")


def _symbols(found: re.Match[str], keywords: bool) -> Iterator[Symbol]:
    text, start = found[0], found.start()
    if found["mark"]:
        yield Symbol(text, start, True)
    elif found["escaped"] is not None:
        yield Symbol(found["escaped"], start, False)
    elif not keywords:
        yield Symbol(text, start, False)
    else:
        yield from _split(text, start)


def _split(text: str, start: int) -> Iterator[Symbol]:
    """Text with the words AND and BREAK as symbols of their own."""
    end = 0
    for word in _WORDS.finditer(text):
        yield Symbol(text[end : word.start()], start + end, False)
        yield Symbol(word[0].strip(), start + word.start() + len(word[0]) - len(word[0].lstrip()), True)
        end = word.end()
    yield Symbol(text[end:], start + end, False)
