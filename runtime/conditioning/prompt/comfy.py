r"""Prompts read the way ComfyUI reads them, oddities included, for the convention of its name.

`(x)` weighs 1.1 times what is around it, `(x:1.3)` exactly 1.3, `\(` and `\)` are text, and whatever is not balanced is
text, too. Neighbours of equal weight stay fragments of their own, which the tokenizer never joins to one word.
(ComfyUI's `sd1_clip.token_weights`.)
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from .scan import fault
from .tree import Fragment, Phrase, check_weight

MORE = 1.1
DEEPEST = 64
# Stand for the escaped brackets while the others are paired; no text that is typed holds them.
_ESCAPED = {r"\)": "\0\1", r"\(": "\0\2"}
# The blocks of Chinese characters that BERT's tokenizer sets apart, first and last.
_CHINESE = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


def weigh(text: str) -> Phrase:
    """A text's fragments with their weights, in one chunk."""
    for escape, stand_in in _ESCAPED.items():
        text = text.replace(escape, stand_in)
    fragments = [(_clean(_unescaped(piece)), weight) for piece, weight in _weighted(text, 1.0)]
    for _, weight in fragments:
        check_weight(weight)
    return Phrase((tuple(fragments),), "comfy-exact")


def _weighted(text: str, around: float, depth: int = 0) -> Iterator[Fragment]:
    if depth > DEEPEST:
        raise fault(text, 0, f"brackets nest more than {DEEPEST} deep; use fewer")
    for piece in _pieces(text):
        if not (len(piece) > 1 and piece.startswith("(") and piece.endswith(")")):
            yield piece, around
            continue
        inside, weight = piece[1:-1], around * MORE
        before, colon, number = inside.rpartition(":")
        if colon and before and (value := _number(number)) is not None:
            inside, weight = before, value
        yield from _weighted(inside, weight, depth + 1)


def _pieces(text: str) -> Iterator[str]:
    """The outermost brackets, and what stands between them; a bracket is outermost where as many closed as opened."""
    start = depth = 0
    for place, sign in enumerate(text):
        if sign == "(":
            if depth == 0 and place > start:
                yield text[start:place]
                start = place
            depth += 1
        elif sign == ")":
            depth -= 1
            if depth == 0:
                yield text[start : place + 1]
                start = place + 1
    if start < len(text):
        yield text[start:]


def _number(text: str) -> float | None:
    """What Python reads as a number, as ComfyUI does, infinity and NaN with it; None for other text."""
    try:
        return float(text)
    except ValueError:
        return None


def _unescaped(text: str) -> str:
    for escape, stand_in in _ESCAPED.items():
        text = text.replace(stand_in, escape[1])
    return text


def _clean(text: str) -> str:
    """Text as transformers' BasicTokenizer leaves it, which ComfyUI's CLIP tokenizer runs on where ftfy is missing:
    composed, without control characters, Chinese characters as words of their own."""
    return "".join(_spaced(char) for char in unicodedata.normalize("NFC", text) if _is_text(char))


def _spaced(char: str) -> str:
    return f" {char} " if any(first <= ord(char) <= last for first, last in _CHINESE) else char


def _is_text(char: str) -> bool:
    return char in "\t\n\r" or (unicodedata.category(char)[0] != "C" and char != "\ufffd")
