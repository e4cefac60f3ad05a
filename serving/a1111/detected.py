"""The hints that ControlNets follow, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from PIL import Image

from ...bundles.tensor import Array
from ...errors import InputError, RefusedError
from ...runtime.imaging import resize
from ...runtime.imaging.picture import Picture
from ...runtime.imaging.preprocessors import INPAINT
from ...runtime.model.hints import hint_of, prepared_controls
from ...runtime.model.model import Model
from ...runtime.requests.controls import Control
from ..controls import find_preprocessor
from ..orders import Order
from ..service import Service
from .fields import Call
from .pictures import read_image, read_mask
from .units import with_numbers

MAPPED = ("img2img", "inpaint")


def detected_maps(model: Model, order: Order, controls: Sequence[Control]) -> list[Image.Image]:
    """What ControlNets of an order see, at its picture's size; none where the model works on parts of a larger one."""
    if not controls or order.verb not in MAPPED:
        return []
    picture, multiple = model.read(order.images[0]), model.bundle.model.multiple
    size = order.options.get("size") or picture.size
    fitted, placement = resize.fit(picture, size, order.options.get("resize_mode", "stretch"), multiple)
    mask = None if not order.masks or isinstance(order.masks[0], bytes) else order.masks[0].levels
    if mask is not None and mask.shape[::-1] != fitted.size:
        mask = np.asarray(Image.fromarray(mask).resize(fitted.size, Image.Resampling.NEAREST))
    prepared = prepared_controls(controls, model.stages.controlnets, fitted, placement.size, multiple, mask)
    return [_shown(each.hint) for each in prepared]


def detected(service: Service, call: Call) -> list[Image.Image]:
    """What /controlnet/detect makes of its pictures; raises `RefusedError` (422) where it does, too."""
    module, most = call["controlnet_module"], service.settings.max_pixels
    given = call["controlnet_input_images"] or call["controlnet_images"]
    try:
        control = Control("none", preprocessor=find_preprocessor(module, service.settings))
    except InputError as exc:
        raise RefusedError(f"Module not available: {exc}", 422, "invalid_input") from None
    if not given:
        raise RefusedError("No image selected; send controlnet_input_images", 422, "invalid_input")
    if len(given) > service.settings.max_images:
        raise InputError(f"{len(given)} images are sent, and {service.settings.max_images} are the most; send less")
    if control.preprocessor == INPAINT and len(call["controlnet_masks"]) != len(given):
        raise RefusedError(f"{module} needs controlnet_masks, one for each image", 422, "invalid_input")
    numbers = (call[f"controlnet_{name}"] for name in ("processor_res", "threshold_a", "threshold_b"))
    control = with_numbers(control, *numbers, notes=[])
    networks = service.model("").stages.controlnets.hint_models
    made = []
    for image, data in zip_longest(given, call["controlnet_masks"][: len(given)]):
        picture = read_image(image, "controlnet_input_images", most)
        mask = None if data is None else read_mask(data, picture, False, most).levels
        made.append(_shown(hint_of(control, control.preprocessor, picture, networks, mask)))
    return made


def _shown(hint: Array) -> Image.Image:
    """A hint float32 [3, height, width] as a picture; what is hidden is black."""
    levels = np.rint(hint.clip(0, 1) * 255).astype(np.uint8)
    return Picture(np.ascontiguousarray(levels.transpose(1, 2, 0))).image
