"""The fields of OpenAI's calls: which call has which, and their values, in forms all of them texts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ...errors import InputError
from ...runtime.requests import checks
from ...runtime.requests.expand import ALIASES
from ..documents import Document
from ..schemas import form_value as own_value

EDIT, GENERATION, VARIATION = "edit", "generation", "variation"
_PAINTED = (EDIT, GENERATION)
FIELDS: Mapping[str, Collection[str]] = {
    "image": (EDIT, VARIATION),
    "mask": (EDIT,),
    "prompt": _PAINTED,
    "model": (*_PAINTED, VARIATION),
    "n": (*_PAINTED, VARIATION),
    "size": (*_PAINTED, VARIATION),
    "response_format": (*_PAINTED, VARIATION),
    "user": (*_PAINTED, VARIATION),
    "quality": _PAINTED,
    "background": _PAINTED,
    "output_format": _PAINTED,
    "output_compression": _PAINTED,
    "partial_images": _PAINTED,
    "stream": _PAINTED,
    "input_fidelity": (EDIT,),
    "moderation": _PAINTED,
    "style": (GENERATION,),
    "safety_identifier": _PAINTED,
}
"""OpenAI's fields, and the calls that have them; what else is sent is an option of ours."""

NOT_SERVED: Mapping[str, str] = {
    "input_fidelity": "strength says how much of the picture stays",
    "moderation": "nothing is moderated here",
    "style": "the prompt says the style",
}
"""OpenAI's fields that change nothing here, and why."""

_OURS_ELSEWHERE: Mapping[str, str] = {"verb": "", "format": "output_format", "regions": "", "inpaint_mask": "mask"}
"""Fields of our own documents that OpenAI's calls say otherwise, or not at all."""


def form_value(name: str, text: str, max_depth: int) -> Any:
    """The value of a form's field: OpenAI's are texts, ours are written as in JSON."""
    return text if name in FIELDS else own_value(name, text, max_depth)


def split(document: Document, kind: str) -> tuple[Document, Document]:
    """OpenAI's fields that were sent, and our options; raises `InputError` for what this kind of call has not."""
    sent = {name: value for name, value in document.items() if value is not None and value != ""}
    for name in sent:
        if kind not in FIELDS.get(name, (kind,)):
            raise InputError(f"a call for {kind}s has no {name}; leave it out", name)
        if name in _OURS_ELSEWHERE:
            instead = _OURS_ELSEWHERE[name]
            raise InputError(f"{name} is none of its fields; {f'send {instead}' if instead else 'see /v1/jobs'}", name)
    options = {name: value for name, value in sent.items() if name not in FIELDS}
    return {name: value for name, value in sent.items() if name in FIELDS}, options


def has(options: Document, name: str) -> bool:
    """Whether an option was sent, by any of its names."""
    return any(ALIASES.get(each, each) == name for each in options)


def text(sent: Document, name: str) -> str:
    """A text, empty where it was not sent."""
    with checks.of(name):
        checks.text(name, sent.get(name, ""))
    return str(sent.get(name, ""))


def choice(sent: Document, name: str, known: Collection[str]) -> str:
    """One of the names that are known, the first where it was not sent."""
    value = sent.get(name, next(iter(known)))
    with checks.of(name):
        checks.choice(name, value, known)
    return str(value)


def whole(sent: Document, name: str, default: int, least: int, most: int) -> int:
    """A whole number, maybe as a text."""
    value = sent.get(name, default)
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        value = int(value)
    with checks.of(name):
        checks.whole(name, value, least, most)
    return int(value)


def flag(sent: Document, name: str) -> bool:
    """True or false, maybe as a text."""
    value = sent.get(name, False)
    if isinstance(value, str):
        value = {"true": True, "false": False, "1": True, "0": False}.get(value.lower(), value)
    with checks.of(name):
        checks.flag(name, value)
    return bool(value)


def size(sent: Document) -> tuple[int, int] | None:
    """(width, height); None for "auto"."""
    value = sent.get("size", "auto")
    if value == "auto":
        return None
    width, _, height = value.partition("x") if isinstance(value, str) else ("", "", "")
    if not (width.isdecimal() and height.isdecimal() and len(value) < 20):
        raise InputError(f"size is {str(value)[:64]!r}; write auto, or width and height as 1024x1536", "size")
    return int(width), int(height)
