"""What clients send, as plain values: JSON within limits, files as base64, form fields as texts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from ..errors import InputError

Document = dict[str, Any]


def parse_json(data: bytes | str, max_depth: int) -> Document:
    """A JSON object; raises `InputError` for anything else, NaN, and more than `max_depth` levels."""
    try:
        made = json.loads(data, parse_constant=_no_number)
    except RecursionError:
        raise InputError(f"the JSON has more than {max_depth} levels; flatten it") from None
    except ValueError as exc:  # also of text that is no UTF-8, and of numbers of thousands of digits
        raise InputError(f"the body is no JSON ({exc}); correct it") from None
    if not isinstance(made, dict):
        raise InputError("the body is no JSON object; send the options by their names")
    if _deeper(made, max_depth):
        raise InputError(f"the JSON has more than {max_depth} levels; flatten it")
    return made


def file_bytes(value: Any, field: str) -> bytes:
    """The bytes of a file that is given as base64, as a data URL, or as a part of a form.

    Raises `InputError` for what is none of these; addresses are followed before, where they are, by `fetch_pictures`.
    """
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise InputError(f"{field} must be a file as base64 or as a data URL, not {type(value).__name__}", field)
    head, comma, text = value[:256].partition(",")[0], value.startswith("data:"), value
    if comma:
        if not head.endswith(";base64"):
            raise InputError(f"{field} is a data URL without base64; encode it so", field)
        text = value[len(head) + 1 :]
    elif "://" in value[:16]:
        raise InputError(f"{field} is an address, which is not followed here (fetch_urls); send the file itself", field)
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{field} is neither base64 nor a data URL; send the file's bytes so", field) from None


def fingerprint(document: Mapping[str, Any], apart: frozenset[str]) -> str:
    """A hash of a document without the fields `apart`: equal ones ask for the same."""
    kept = {name: value for name, value in document.items() if name not in apart}
    text = json.dumps(kept, sort_keys=True, default=lambda data: hashlib.sha256(data).hexdigest())
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects within one another are more than so many levels."""
    here: list[Any] = [value]
    for _ in range(levels + 1):
        here = [each for each in here if isinstance(each, dict | list)]
        if not here:
            return False
        here = [part for each in here for part in (each.values() if isinstance(each, dict) else each)]
    return True
