"""The fields of documents: options of the table, and what else JSON can say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..bundles.facts import Defaults
from ..errors import unknown
from ..runtime.imaging.mask import LATENT_MODES
from ..runtime.requests.option import Option
from ..runtime.requests.options import of_tool
from ..runtime.requests.places import CONTENTS
from ..runtime.requests.schema import options_schema
from ..runtime.tools.grid import AXES, MAX_AXES, REPLACE
from .controls import schema as controls
from .image_prompts import SCHEMA as IMAGE_PROMPTS
from .made import MEDIA_TYPES
from .orders import VERBS
from .settings import Settings

MAX_PRIORITY = 10

_FILE = {"type": "string", "contentEncoding": "base64"}
MASK = {
    "type": "object",
    "properties": {
        "mask": _FILE,
        "differential": {"type": "boolean"},
        "soft": {"type": "number", "minimum": 0, "maximum": 8},
        "content": {"enum": list(CONTENTS)},
        "latent_mask": {"enum": list(LATENT_MODES)},
    },
    "required": ["mask"],
    "additionalProperties": False,
}
MASK_FIELDS = {"mask", "differential", "soft", "content", "latent_mask"}
_REGION = {
    "type": "object",
    "properties": {"prompt": {"type": "string"}, "mask": _FILE},
    "required": ["prompt", "mask"],
    "additionalProperties": False,
}
_AXIS = {"type": "array", "items": {"type": ["number", "string"]}, "minItems": 1}
_SHARES = {
    "type": "array",
    "items": {"type": "array", "prefixItems": [{"type": "number"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
}
FIELDS: Mapping[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "verb": ({"enum": list(VERBS), "default": "img2img", "description": "what is done"}, VERBS),
    "model": ({"type": "string", "description": "a model's name (the first)"}, VERBS),
    "image": ({**_FILE, "description": "the picture's file as base64 or a data URL"}, VERBS),
    "mask": ({**_FILE, "description": "white is repainted; several have a prompt each"}, ("inpaint",)),
    "regions": (
        {"type": "array", "items": _REGION, "description": "parts of the picture with prompts of their own"},
        ("img2img", "inpaint"),
    ),
    "inpaint_mask": ({**MASK, "description": "which pixels may change"}, ("img2img", "grid")),
    "prompts": (
        {**_SHARES, "description": "[share of the steps, prompt] pairs instead of a prompt, the first from 0 on"},
        VERBS,
    ),
    "controls": (controls(Settings()), VERBS),
    "image_prompts": (dict(IMAGE_PROMPTS), VERBS),
    "axes": (
        {
            "type": "object",
            "propertyNames": {"enum": [*AXES, REPLACE]},
            "additionalProperties": _AXIS,
            "minProperties": 1,
            "maxProperties": MAX_AXES,
            "description": "values of options by name: one to three",
        },
        ("grid",),
    ),
    "upscaler": (
        {"type": "string", "description": "what makes the first enlargement, see /v1/models (Lanczos)"},
        ("upscale",),
    ),
    "cell": ({"type": "integer", "minimum": 16, "maximum": 2048, "default": 256}, ("grid",)),
    "format": ({"enum": list(MEDIA_TYPES), "default": "png", "description": "of the result"}, VERBS),
    "priority": (
        {
            "type": "integer",
            "minimum": -MAX_PRIORITY,
            "maximum": MAX_PRIORITY,
            "default": 0,
            "description": "higher first",
        },
        VERBS,
    ),
    "share": (
        {"type": "boolean", "default": False, "description": "work once on equal calls that are in flight together"},
        VERBS,
    ),
}  # fmt: skip
"""Fields of a document that are no options of the table: their schema, and the verbs that have them."""

REQUIRED: Mapping[str, tuple[str, ...]] = {"inpaint": ("mask",), "grid": ("axes",)}
_LISTED = {"image": ("img2img",), "mask": ("inpaint",)}
"""Fields that may be lists, and the verbs where they may."""


def document_schema(verb: str, settings: Settings, defaults: Defaults | None = None) -> dict[str, Any]:
    """What may be sent for a verb, as a JSON schema; raises `InputError` for another verb."""
    made = options_schema(tool_of(verb), defaults)
    properties: dict[str, Any] = {name: dict(schema) for name, (schema, verbs) in FIELDS.items() if verb in verbs}
    properties["controls"] = controls(settings)
    properties["verb"] = {"const": verb, "description": "what is done"}
    for name, verbs in _LISTED.items():
        if verb in verbs:
            single = properties[name]
            properties[name] = {
                "anyOf": [_FILE, {"type": "array", "items": _FILE}],
                "description": single["description"],
            }
    options = {name: made["properties"][name] for name in options_of(verb) if name in made["properties"]}
    if "n" in options:
        options["n"] = {**options["n"], "maximum": settings.max_images}
    required = ["image", *REQUIRED.get(verb, ())]
    return {**made, "title": verb, "properties": {**properties, **options}, "required": required}


def tool_of(verb: str) -> str:
    """Whose options a verb has; raises `InputError` for an unknown verb."""
    if verb not in VERBS:
        raise unknown("verb", verb, VERBS, "verb")
    return "img2img" if verb == "grid" else verb


def options_of(verb: str) -> dict[str, Option]:
    """The options of a verb that JSON can say."""
    rows = {name: row for name, row in of_tool(tool_of(verb)).items() if row.kind != "object"}
    if verb == "grid":
        del rows["n"]
    return rows
