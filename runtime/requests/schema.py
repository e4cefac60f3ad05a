"""The options of a tool as a JSON schema, for servers and their clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ...bundles.facts import Defaults
from ..imaging.limits import MAX_SIDE
from .option import Option
from .options import of_tool

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def options_schema(tool: str = "img2img", defaults: Defaults | None = None) -> dict[str, Any]:
    """What may be asked of a tool, as a JSON schema of draft 2020-12: "img2img", "inpaint", "outpaint" or "upscale".

    `defaults` are a model's own for the tool, as in `bundle.model.defaults[tool]`. A property's "x-affects" says what
    a change of it alters. What only Python can say, such as masks and functions, is not in it. Raises `InputError` for
    another tool.
    """
    own: Mapping[str, Any] = {} if defaults is None else asdict(defaults)
    properties = {
        name: _property(option, own.get(name)) for name, option in of_tool(tool).items() if option.kind != "object"
    }
    return {
        "$schema": DRAFT,
        "title": tool,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _property(option: Option, own: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"description": option.sentence, "x-affects": option.affects, **_type(option)}
    if option.default is None:
        made = {**made, "anyOf": [*made["anyOf"], {"type": "null"}]} if "anyOf" in made else _or_null(made)
    if own is not None:
        made["default"] = own
    elif not option.usual and option.default is not None:
        made["default"] = list(option.default) if isinstance(option.default, tuple) else option.default
    return made


def _or_null(made: dict[str, Any]) -> dict[str, Any]:
    if "enum" in made:
        made["enum"] = [*made["enum"], None]
    made["type"] = [made["type"], "null"]
    return made


def _type(option: Option) -> dict[str, Any]:
    number = {"type": "number", **_range(option)}
    match option.kind:
        case "number":
            return number
        case "whole":
            return {"type": "integer", **_range(option)}
        case "seed":
            return {"type": "integer", "minimum": -1, "maximum": 2**64 - 1}
        case "name":
            return {"type": "string", "enum": list(option.choices)}
        case "label":
            return {"type": "string", "examples": list(option.choices)}
        case "flag":
            return {"type": "boolean"}
        case "size":
            return _several({"type": "integer", "minimum": 1, "maximum": MAX_SIDE}, 2)
        case "numbers":
            return {"type": "array", "items": number}
        case "texts":
            return {"type": "array", "items": {"type": "string"}}
        case "blur":
            return {"anyOf": [number, _several(number, 2)]}
        case "colour":
            return _several({"type": "integer", "minimum": 0, "maximum": 255}, 3)
    return {"type": "string"}


def _several(item: Mapping[str, Any], count: int) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": count, "maxItems": count}


def _range(option: Option) -> dict[str, Any]:
    ends = {"minimum": option.least, "maximum": option.most}
    return {name: end for name, end in ends.items() if abs(end) < float("inf")}
