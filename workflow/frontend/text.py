"""What ComfyUI's page does to texts before it sends them."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable

_COMMENT = re.compile(r"/\*[\s\S]*?\*/|//.*")
_CHOICE = re.compile(r"(?<!\\)\{([^{}]*)(?<!\\)\}")
_PLACE = re.compile(r"%([^%]+)%")
_TIME = re.compile("yyyy|yy|MM|M|dd|d|hh|h|mm|m|ss|s")
_TIMES = {
    "yyyy": "%Y", "yy": "%y", "MM": "%m", "M": "%m", "dd": "%d", "d": "%d", "hh": "%H", "h": "%H", "mm": "%M",
    "m": "%M", "ss": "%S", "s": "%S",
}  # fmt: skip


def prompt_text(prompt: str) -> str:
    """A prompt without its comments, and of each {a|b} one, at random."""
    text = _COMMENT.sub("", prompt)
    while (match := _CHOICE.search(text)) is not None:
        # S311: a choice of words, no secret.
        text = text[: match.start()] + random.choice(match[1].split("|")) + text[match.end() :]
    return re.sub(r"\\([{}|])", r"\1", text)


def file_prefix(prefix: str, value_of: Callable[[str, str], str | None]) -> str:
    """A file's prefix with %date:yyyy-MM-dd% and %node.input% replaced; what is unknown stays, for SaveImage."""

    def replaced(match: re.Match[str]) -> str:
        kind, _, form = match[1].partition(":")
        if kind == "date":
            return _moment(form or "yyyyMMddhhmmss")
        node, dot, name = match[1].partition(".")
        value = value_of(node, name) if dot else None
        return match[0] if value is None else re.sub(r'[/?<>\\:*|"\x00-\x1f\x7f]', "_", value)

    return _PLACE.sub(replaced, prefix)


def _moment(form: str) -> str:
    now = time.localtime()

    def part(match: re.Match[str]) -> str:
        two = time.strftime(_TIMES[match[0]], now)
        return two if len(match[0]) > 1 else two.lstrip("0") or "0"

    return _TIME.sub(part, form)
