"""What a call wants: the order, and how its pictures are sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from ...errors import InputError
from ..documents import Document
from ..fields import tool_of
from ..made import MEDIA_TYPES
from ..orders import Order
from ..schemas import order_of
from ..service import Service
from . import fields
from .fields import GENERATION, VARIATION

MAX_PARTIAL_IMAGES = 3
QUALITIES: Mapping[str, tuple[str, float]] = {
    "auto": ("medium", 1.0),
    "standard": ("medium", 1.0),
    "medium": ("medium", 1.0),
    "low": ("low", 0.5),
    "high": ("high", 2.0),
    "hd": ("high", 2.0),
}
"""The quality that is answered, and how many times the model's usual steps it takes."""

_THEIR_FIELDS = {"quality": "output_compression", "format": "output_format", "image_prompts": "image"}
_THEIRS = ("gpt-image-", "chatgpt-image-", "dall-e-")


@dataclass(frozen=True)
class Answer:
    """How a call wants to be answered: as a `stream` with `partial_images` of each picture, with `url`s or base64.

    `kind` is that of the call, `quality` what OpenAI calls so, and `notes` say what was sent and changes nothing.
    """

    kind: str
    quality: str = "medium"
    stream: bool = False
    partial_images: int = 0
    url: bool = False
    notes: tuple[str, ...] = ()


def read(document: Document, kind: str, service: Service) -> tuple[Order, Answer]:
    """A call's order and answer; raises `InputError`, with the field's name, for what cannot be used."""
    sent, options = fields.split(document, kind)
    if kind != VARIATION and not fields.text(sent, "prompt"):
        raise InputError("prompt is missing; say what is to be seen", "prompt")
    answer = _answer(sent, kind)
    model = _model_name(fields.text(sent, "model"), service)
    native: Document = {
        "model": model,
        "prompt": fields.text(sent, "prompt"),
        "n": fields.whole(sent, "n", 1, 1, service.settings.max_images),
        "format": fields.choice(sent, "output_format", tuple(MEDIA_TYPES)),
        "quality": max(1, fields.whole(sent, "output_compression", 100, 0, 100)),
        **(_blank(sent, options, model, service) if kind == GENERATION else _pictures(sent, kind)),
    }
    times = QUALITIES[str(sent.get("quality", "auto"))][1]
    if times != 1 and not fields.has(options, "steps"):
        verb = tool_of(native.get("verb", "img2img"))
        steps = service.model(model).bundle.model.defaults[verb].steps
        native["steps"] = min(max(1, round(times * steps)), 1000)
    try:
        return order_of({**native, **options}, service.settings), answer
    except InputError as exc:
        exc.field = _THEIR_FIELDS.get(exc.field or "", exc.field)
        raise


def _answer(sent: Document, kind: str) -> Answer:
    stream, url = fields.flag(sent, "stream"), fields.choice(sent, "response_format", ("b64_json", "url")) == "url"
    partial_images = fields.whole(sent, "partial_images", 0, 0, MAX_PARTIAL_IMAGES)
    if partial_images and not stream:
        raise InputError("partial_images come in a stream; send stream=true, too", "partial_images")
    if stream and url:
        raise InputError("a stream has pictures as b64_json; leave response_format out", "response_format")
    if sent.get("background") == "transparent":
        raise InputError("the models here paint no transparent background; leave it out, or send opaque", "background")
    fields.choice(sent, "background", ("auto", "opaque"))
    quality = QUALITIES[fields.choice(sent, "quality", tuple(QUALITIES))][0]
    notes = tuple(f"{name} changes nothing: {why}" for name, why in fields.NOT_SERVED.items() if name in sent)
    return Answer(kind, quality, stream, partial_images, url, notes)


def _model_name(name: str, service: Service) -> str:
    """The served model that is meant: of a name of OpenAI's the first."""
    theirs = name not in service.models and name.startswith(_THEIRS)
    return service.model_name("" if theirs else name)


def _pictures(sent: Document, kind: str) -> Document:
    """The picture, and what of it is edited."""
    image, *others = _images(sent, kind)
    mask, size = sent.get("mask"), fields.size(sent)
    prompts = {"image_prompts": [{"image": each} for each in others]} if others else {}
    if mask is None:
        return {"image": image, "size": size, **prompts}
    if size is not None:
        cause = "under a mask the result has the picture's size, so that the rest of it stays; send auto"
        raise InputError(cause, "size")
    return {"verb": "inpaint", "image": image, "mask": mask, "channel": "alpha", "blur": 0.0, **prompts}


def _images(sent: Document, kind: str) -> list[Any]:
    """The picture to edit, and those that steer the model beside the text."""
    image = sent.get("image")
    images = image if isinstance(image, list) else [image]
    if not images or images[0] is None:
        raise InputError(f"image is missing; {kind}s are made of one", "image")
    if len(images) > 1 and kind == VARIATION:
        raise InputError(f"{len(images)} pictures were sent, a variation is of one; send a call for each", "image")
    return images


def _blank(sent: Document, options: Document, model: str, service: Service) -> Document:
    """Nothing of a picture but its size: at strength 1 it is painted from noise alone."""
    if fields.has(options, "strength"):
        raise InputError("a generation starts from no picture; leave strength out, or call for an edit", "strength")
    size = fields.size(sent) or service.model(model).bundle.model.default_size
    if size[0] * size[1] > service.settings.max_pixels or not all(size):
        most = service.settings.max_pixels
        raise InputError(f"size is {size[0]}x{size[1]}; give sides of 1 and more, and at most {most} pixels", "size")
    stream = BytesIO()
    Image.new("RGB", size).save(stream, "PNG", compress_level=1)
    return {"image": stream.getvalue(), "strength": 1.0}
