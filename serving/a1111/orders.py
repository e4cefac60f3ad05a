"""A1111's calls become orders: pictures, masks, scripts, and a second pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from ...errors import InputError, RefusedError
from ...runtime.imaging.mask import Mask
from ...runtime.imaging.picture import Picture
from ...runtime.requests.places import InpaintMask
from ..orders import Order
from ..schemas import check_limits
from ..service import Service
from .detected import detected_maps
from .hires import twice
from .options import RESIZE_MODES, Reading, Size
from .pictures import blank, check_pixels, fitted, read_image, read_mask
from .preferences import FORMAT, FORMATS, MODEL, QUALITY
from .scripted import Scripted
from .scripts import SOFT, always_on, chosen, units
from .units import UnitReader, Units

CONTENTS = ("fill", "original", "noise", "nothing")


@dataclass
class Translator:
    """One call's way to an order, which `order` gives; raises `InputError` and `RefusedError` for what is
    not served."""

    service: Service
    reading: Reading
    tab: str
    _units: Units = field(default_factory=Units)

    def order(self) -> Order:
        """The order."""
        name, arguments = chosen(self.reading.call, self.tab)
        others = always_on(self.reading.call, self.tab)
        base = self._txt2img() if self.tab == "txt2img" else self._img2img(others.get(SOFT))
        base = self._controlled(base)
        order = Scripted(self.service, self.reading, self.tab).order(name, base, arguments) if name else base
        check_limits(order, self.service.settings)
        return order

    def maps(self, order: Order) -> list[Image.Image]:
        """The hints of an order's units that are to be sent."""
        return detected_maps(self.service.model(order.model), order, self._units.shown)

    def _controlled(self, base: Order) -> Order:
        """An order with the call's ControlNet units."""
        given = units(self.reading.call)
        if not given:
            return base
        (image, *_), reading = base.images, self.reading
        assert isinstance(image, Picture)
        reader = UnitReader(self.service.model(base.model), self.service.settings, reading.call, reading.notes)
        self._units = reader.read(given, image.size)
        return self._units.of(base)

    def _based(self, images: tuple[Picture, ...], verb: str = "img2img", **options: Any) -> Order:
        preferences, kind = self.reading.preferences, FORMATS[self.reading.preferences[FORMAT]]
        return Order(
            verb,
            preferences[MODEL],
            images,
            self.reading.call["prompt"],
            options={**self.reading.options(), "n": self.reading.count, **options},
            kind=kind,
            quality=preferences[QUALITY],
        )

    def _txt2img(self) -> Order:
        """A picture of nothing whose latents are zeros, so that what begins is noise alone."""
        reading, size = self.reading, self.reading.size
        check_pixels(size, self.service.settings.max_pixels, "width")
        picture, mask = blank(size)
        order = self._based((picture,), inpaint_mask=InpaintMask(mask, content="nothing"), strength=1.0)
        return twice(self.service, self.reading, order) if reading.call["enable_hr"] else order

    def _img2img(self, soft: Mapping[str, Any] | None) -> Order:
        call, most = self.reading.call, self.service.settings.max_pixels
        if not call["init_images"]:
            raise RefusedError("Init image not found", 404, "invalid_input")
        if not 0 <= call["resize_mode"] < len(RESIZE_MODES):
            raise InputError(f"resize_mode is {call['resize_mode']}; 0, 1 and 2 are served, 3 (latent) is not")
        images = tuple(read_image(each, "init_images", most) for each in call["init_images"])
        size, mode = self.reading.size, RESIZE_MODES[call["resize_mode"]]
        check_pixels(size, self.service.settings.max_pixels, "width")
        if call["mask"]:
            if len(images) > 1:
                raise InputError("init_images: with a mask one is painted; send a call for each", "init_images")
            return self._inpaint(images[0], size, mode, soft)
        if soft or not call["mask_round"]:
            self.reading.notes.append("mask_round and soft inpainting: there is no mask")
        if len(images) > 1:
            return self._based(images * max(call["n_iter"], 1), size=size, resize_mode=mode, n=1)
        return self._based(images, size=size, resize_mode=mode)

    def _inpaint(self, picture: Picture, size: Size, mode: str, soft: Mapping[str, Any] | None) -> Order:
        call = self.reading.call
        if not 0 <= call["inpainting_fill"] < len(CONTENTS):
            raise InputError(f"inpainting_fill is {call['inpainting_fill']}; give 0 to 3", "inpainting_fill")
        if not call["mask_round"] and soft is None:
            raise InputError("mask_round false is not served without soft inpainting; leave it out", "mask_round")
        inverted = bool(call["inpainting_mask_invert"])
        mask: Mask | None = read_mask(call["mask"], picture, inverted, self.service.settings.max_pixels)
        blur = (call["mask_blur_x"], call["mask_blur_y"]) if call["mask_blur"] is None else (call["mask_blur"],) * 2
        options: dict[str, Any] = {"blur": blur, "content": CONTENTS[call["inpainting_fill"]]}
        if call["inpaint_full_res"]:
            options |= {"only_masked": True, "padding": call["inpaint_full_res_padding"], "size": size}
        else:
            picture, mask = fitted(picture, mask, size, mode)
        if soft is not None:
            options |= _soft(soft)
        assert mask is not None
        return replace(self._based((picture,), "inpaint", **options), masks=(mask,))


def _soft(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Soft inpainting's options."""
    return {
        "levels": "soft",
        "soft_bias": arguments["schedule bias"],
        "soft_preservation": arguments["preservation strength"],
        "soft_boost": arguments["transition contrast boost"],
        "soft_influence": arguments["mask influence"],
        "soft_threshold": arguments["difference threshold"],
        "soft_contrast": arguments["difference contrast"],
    }
