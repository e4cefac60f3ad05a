"""ControlNets of documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..runtime.imaging.picture import read as read_picture
from ..runtime.imaging.preprocessors import ALIASES, NAMES
from ..runtime.requests import checks
from ..runtime.requests.controls import FITS, MODES, MOST_RESOLUTION, MOST_WEIGHT, ONNX, Control
from .adapters import FILE, NAME, SHARE, check_name, objects
from .documents import file_bytes
from .settings import Settings

FIELD = "controls"
MOST = 8
"""ControlNets of one request."""


def schema(settings: Settings) -> dict[str, Any]:
    """What a document's `controls` are, as a JSON schema."""
    own: Mapping[str, Any] = {
        "net": NAME,
        "image": {**FILE, "description": "what the hint comes from (the picture that is repainted)"},
        "weight": {"type": "number", "minimum": 0, "maximum": MOST_WEIGHT, "default": 1},
        "start": {**SHARE, "default": 0},
        "end": {**SHARE, "default": 1},
        "mode": {"enum": list(MODES), "default": MODES[0]},
        "preprocessor": {
            "enum": [*preprocessors(settings), *ALIASES, ""],
            "default": "",
            "description": "what makes the hint; none for an image of its own, the ControlNet's own for the picture",
        },
        "thresholds": {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": MOST_RESOLUTION}},
        "resolution": {"type": "integer", "minimum": 0, "maximum": MOST_RESOLUTION, "default": 0},
        "fit": {"enum": list(FITS), "default": FITS[0]},
        "control_type": {"type": "string", "description": "what a union ControlNet takes the hint for"},
    }
    return {
        "type": "array",
        "items": {"type": "object", "properties": own, "required": ["net"], "additionalProperties": False},
        "maxItems": MOST,
        "description": "ControlNets, each with a picture, a weight and a time of its own",
    }


def preprocessors(settings: Settings) -> tuple[str, ...]:
    """The names of what makes hints on a server of these settings."""
    return (*NAMES, *settings.named_preprocessors())


def controls(value: Any, settings: Settings) -> tuple[Control, ...]:
    """The ControlNets of a list of objects; raises `InputError` for what are none, and for paths."""
    own = schema(settings)["items"]["properties"]
    with checks.of(FIELD):
        given = objects(value, FIELD, own, "net")
        if len(given) > MOST:
            raise InputError(f"{len(given)} ControlNets are asked for, and {MOST} are the most; leave some out")
        return tuple(_one(each, f"{FIELD}[{index}]", settings) for index, each in enumerate(given))


def find_preprocessor(name: Any, settings: Settings) -> str:
    """What a `Control` calls a preprocessor of a server of these settings; raises `InputError` for another."""
    checks.text("a preprocessor", name)
    if name in settings.named_preprocessors():
        return f"{ONNX}{name}"
    if name and name not in (*NAMES, *ALIASES):
        raise InputError(
            f"there is no preprocessor {name[:64]!r} here; choose one of {', '.join(preprocessors(settings))}; where "
            "it is a network of its own, give the picture that it made and the preprocessor none, or have it exported "
            "to ONNX and named in the server's setting preprocessors"
        )
    return str(name)


def _one(given: Mapping[str, Any], place: str, settings: Settings) -> Control:
    made = {**given, "preprocessor": find_preprocessor(given.get("preprocessor", ""), settings)}
    check_name("a control's net", given["net"])
    if "image" in given:
        made["image"] = read_picture(file_bytes(given["image"], f"{place}.image"), max_pixels=settings.max_pixels)
    return Control(**made)
