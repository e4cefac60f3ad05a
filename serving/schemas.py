"""Documents become orders: options by the table, pictures, masks, regions, prompts by steps, axes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ..errors import InputError, unknown
from ..runtime.imaging import mask as masks
from ..runtime.imaging.picture import Picture
from ..runtime.imaging.picture import read as read_picture
from ..runtime.requests import checks
from ..runtime.requests.expand import ALIASES, check_names
from ..runtime.requests.option import Option
from ..runtime.requests.places import InpaintMask, Region
from ..runtime.tools.grid import AXES, REPLACE
from .controls import controls
from .documents import file_bytes, fingerprint, parse_json
from .fields import FIELDS, MASK_FIELDS, REQUIRED, options_of
from .image_prompts import image_prompts
from .made import MEDIA_TYPES
from .orders import VERBS, Order
from .settings import Settings

APART = frozenset({"priority", "share", "timeout"})
"""Fields that say nothing of what is made."""


def order_of(document: Mapping[str, Any], settings: Settings) -> Order:
    """A document's order; files may be bytes.

    Raises `InputError`, with the field's name, for all that can be known to be wrong without the model.
    """
    named = document.get("verb")
    verb = "img2img" if named is None else _choice(named, "verb", VERBS)
    own = {name: value for name, value in document.items() if name in FIELDS and value is not None}
    for name in own:
        if verb not in FIELDS[name][1]:
            raise InputError(f"{verb} has no {name}; leave it out", name)
    for name in ("image", *REQUIRED.get(verb, ())):
        if name not in own:
            raise InputError(f"{name} is missing; {verb} needs it", name)
    options = _checked({name: value for name, value in document.items() if name not in FIELDS}, verb)
    images: tuple[bytes | Picture, ...] = _files(own["image"], "image")
    order = Order(
        verb,
        _text(own.get("model", ""), "model"),
        images,
        options.pop("prompt", ""),
        _files(own.get("mask", ()), "mask"),
        _axes(own.get("axes", {})),
        _whole(own, "cell"),
        _text(own.get("upscaler", ""), "upscaler"),
        options,
        options.pop("timeout", None),
        _whole(own, "priority"),
        _flag(own, "share"),
        _choice(own.get("format", "png"), "format", MEDIA_TYPES),
        options.pop("quality", 95),
        options.pop("strip_metadata", False),
        fingerprint(document, APART),
    )
    check_limits(order, settings)
    if "prompts" in own:
        options["prompts"] = _shares(own["prompts"])
    if "controls" in own:
        options["controls"] = controls(own["controls"], settings)
    if "image_prompts" in own:
        options["image_prompts"] = image_prompts(own["image_prompts"], settings.max_pixels)
    return _with_places(order, own, settings)


def form_value(name: str, text: str, max_depth: int) -> Any:
    """A text of a form as the field's value: numbers, lists and objects are written as in JSON.

    Raises `InputError` for what is none.
    """
    row = _row(name)
    schema = FIELDS[name][0] if name in FIELDS else None
    if row is not None and row.kind in ("text", "name", "label"):
        return text
    if (schema is not None and ("enum" in schema or schema.get("type") == "string")) or (
        row is None and schema is None
    ):
        return text
    try:
        return parse_json(f'{{"value": {text}}}', max_depth)["value"]
    except InputError:
        raise InputError(f"{name} is {text[:64]!r}; write it as in JSON", name) from None


def _row(name: str) -> Option | None:
    own = ALIASES.get(name, name)
    return next((rows[own] for rows in map(options_of, VERBS) if own in rows), None)


def _checked(given: Mapping[str, Any], verb: str) -> dict[str, Any]:
    """Options by their own names, each checked by its row."""
    rows = options_of(verb)
    check_names(given, rows.keys(), rows.keys())
    made: dict[str, Any] = {}
    for name, value in given.items():
        own = ALIASES.get(name, name)
        if own in made:
            raise InputError(f"{own} is given twice, also as {name!r}; give it once", own)
        if value is not None:
            made[own] = _several(rows[own], value, verb)
    return made


def _several(row: Option, value: Any, verb: str) -> Any:
    """A value of an option; of some verbs a list has one for each picture or mask."""
    lists = {"img2img": ("prompt", "negative_prompt", "seed"), "inpaint": ("prompt", "seed"), "outpaint": ("seed",)}
    if row.name in lists.get(verb, ()) and isinstance(value, list):
        if not value:
            raise InputError(f"{row.name} is an empty list; give one value at least", row.name)
        return tuple(checks.option(row, each) for each in value)
    return checks.option(row, value)


def _files(value: Any, field: str) -> tuple[bytes, ...]:
    listed = value if isinstance(value, list | tuple) else [value]
    return tuple(file_bytes(each, field) for each in listed)


def _axes(value: Any) -> dict[str, tuple[Any, ...]]:
    if not isinstance(value, dict) or not all(isinstance(values, list) for values in value.values()):
        raise InputError('axes must be an object of lists, such as {"strength": [0.3, 0.5]}', "axes")
    made = {}
    for name, values in value.items():
        row = options_of("grid").get(ALIASES.get(name, name))
        if name == REPLACE:
            for each in values:
                checks.text(REPLACE, each)
            made[name] = tuple(values)
        elif row is None or row.name not in AXES:
            raise unknown("axis", name, (*AXES, REPLACE), "axes")
        else:
            made[name] = tuple(checks.option(row, each) for each in values)
    return made


def _shares(value: Any) -> tuple[tuple[float, str], ...]:
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise InputError("prompts must be a list of [share of the steps, prompt]", "prompts")
    with checks.of("prompts"):
        for share, prompt in value:
            checks.number("a share of the steps", share, 0, 1)
            checks.text("a prompt", prompt)
    return tuple((float(share), prompt) for share, prompt in value)


def _with_places(order: Order, own: Mapping[str, Any], settings: Settings) -> Order:
    """The order with its regions and its mask, which are of the picture's size."""
    if "regions" not in own and "inpaint_mask" not in own:
        return order
    (source,) = order.images if len(order.images) == 1 else (None,)
    if source is None:
        raise InputError("regions and masks are of one picture; send a job for each", "image")
    with checks.of("image"):
        picture = read_picture(source, max_pixels=settings.max_pixels) if isinstance(source, bytes) else source

    def levels(value: Any, field: str) -> Any:
        with checks.of(field):
            data = file_bytes(value, field)
            return masks.read(data, picture.size, resize=True, max_pixels=settings.max_pixels).levels

    places: dict[str, Any] = {}
    if (regions := own.get("regions")) is not None:
        if not isinstance(regions, list) or not all(_has(each, {"prompt", "mask"}, set()) for each in regions):
            raise InputError("regions must be a list of objects with a prompt and a mask", "regions")
        with checks.of("regions"):
            places["regions"] = tuple(Region(each["prompt"], levels(each["mask"], "regions")) for each in regions)
    if (change := own.get("inpaint_mask")) is not None:
        if not _has(change, {"mask"}, MASK_FIELDS):
            raise InputError("inpaint_mask must be an object with a mask, see /v1/options", "inpaint_mask")
        with checks.of("inpaint_mask"):
            checks.flag("differential", change.get("differential", False))
            fields = {name: value for name, value in change.items() if name != "mask"}
            places["inpaint_mask"] = InpaintMask(levels(change["mask"], "inpaint_mask"), **fields)
    return replace(order, images=(picture,), options={**order.options, **places})


def check_limits(order: Order, settings: Settings) -> None:
    """Raise `InputError` for more than the server allows."""
    count = len(order.images) * order.options.get("n", 1)
    for values in order.axes.values():
        count *= max(len(values), 1)
    if count > settings.max_images:
        field = "axes" if order.axes else "n"
        raise InputError(f"{count} pictures are asked for, and {settings.max_images} are the most; ask for less", field)
    width, height = order.options.get("size") or (1, 1)
    if width * height > settings.max_pixels:
        raise InputError(f"size is {width}x{height}, more than {settings.max_pixels} pixels; ask for less", "size")


def _has(value: Any, needed: set[str], allowed: set[str]) -> bool:
    return isinstance(value, dict) and needed <= value.keys() <= needed | allowed


def _text(value: Any, field: str) -> str:
    with checks.of(field):
        checks.text(field, value)
    return str(value)


def _whole(own: Mapping[str, Any], name: str) -> int:
    schema = FIELDS[name][0]
    value = own.get(name, schema["default"])
    with checks.of(name):
        checks.whole(name, value, schema["minimum"], schema["maximum"])
    return int(value)


def _flag(own: Mapping[str, Any], name: str) -> bool:
    with checks.of(name):
        checks.flag(name, own.get(name, False))
    return bool(own.get(name, False))


def _choice(value: Any, name: str, known: Collection[str]) -> str:
    with checks.of(name):
        checks.choice(name, value, known)
    return str(value)
