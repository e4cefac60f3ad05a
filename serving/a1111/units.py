"""sd-webui-controlnet's units as ControlNets and image prompts of an order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import InputError, unknown
from ...runtime.imaging import mask as masks
from ...runtime.imaging.preprocessors import INPAINT, PREPROCESSORS
from ...runtime.model.model import Model
from ...runtime.provenance.control_texts import FITS, MODES
from ...runtime.requests.controls import Control
from ...runtime.requests.image_prompts import ImagePrompt
from ..controls import MOST, find_preprocessor
from ..orders import Order
from ..settings import Settings
from .fields import UNIT, Call, read_call
from .pictures import image_bytes, read_image

IP_ADAPTERS = ("ip-adapter-auto", "ip-adapter_clip_sd15", "ip-adapter_clip_sdxl", "ip-adapter_clip_sdxl_plus_vith")
"""The modules of units that are image prompts; which one it is follows from the adapter here."""
LEAST_RESOLUTION, RESOLUTION, MOST_RESOLUTION = 64, 512, 2048
"""Of what a preprocessor works at; the second is usual."""
WHOLE = ("none", "tile_resample", INPAINT)
"""Preprocessors that have no resolution of their own."""
_ALIASES = {"guidance": "guidance_end", "input_image": "image"}
_HASH = re.compile(r"\[([0-9a-f]{4,64})\]\Z")
# Their other names in its earlier versions.
_RESIZE_MODES = {
    "Inner Fit (Scale to Fit)": "crop",
    "Scale to Fit (Inner Fit)": "crop",
    "Outer Fit (Shrink to Fit)": "pad",
    "Envelope (Outer Fit)": "pad",
}


@dataclass
class Units:
    """The units of a call that are enabled: what an order has of them, and of which controls the hint is wanted."""

    controls: list[Control] = field(default_factory=list)
    image_prompts: list[ImagePrompt] = field(default_factory=list)
    shown: list[Control] = field(default_factory=list)

    def of(self, order: Order) -> Order:
        """An order with them."""
        options: dict[str, Any] = {}
        if self.controls:
            options["controls"] = tuple(self.controls)
        if self.image_prompts:
            options["image_prompts"] = tuple(self.image_prompts)
        return replace(order, options={**order.options, **options}) if options else order


@dataclass
class UnitReader:
    """Reads the units of a call on a model. Of `notes` it makes more."""

    model: Model
    settings: Settings
    call: Call
    notes: list[str]

    def read(self, given: Sequence[Any], size: tuple[int, int]) -> Units:
        """The units for a picture of `size`; raises `InputError`, with the unit's number, for what is not served."""
        made = Units()
        for index, each in enumerate(given):
            with _of(index):
                if not isinstance(each, dict):
                    raise InputError("it is an object with module, model and image; send it as one")
                unit = read_call({_ALIASES.get(name, str(name)): value for name, value in each.items()}, UNIT)
                if unit["enabled"]:
                    self._add(made, unit, size)
        if len(made.controls) > MOST:
            raise InputError(f"{len(made.controls)} ControlNet units are enabled, and {MOST} are the most")
        return made

    def _add(self, made: Units, unit: Call, size: tuple[int, int]) -> None:
        if unit["hr_option"] != "Both" and self.call.get("enable_hr"):
            raise InputError("hr_option: a unit counts in both passes here; leave it out")
        if unit["module"] in IP_ADAPTERS:
            made.image_prompts += self._image_prompts(unit, size)
            return
        control = self._control(unit)
        made.controls.append(control)
        if unit["save_detected_map"]:
            made.shown.append(control)

    def _control(self, unit: Call) -> Control:
        if unit["effective_region_mask"]:
            raise InputError("effective_region_mask is served for ip-adapters alone; leave it out")
        preprocessor = find_preprocessor(unit["module"], self.settings)
        net = find_model("ControlNet", unit["model"], self.model.stages.controlnets.offered)
        pictures = self._pictures(unit)
        if len(pictures) > 1:
            raise InputError("it has several images; send a unit for each")
        if not pictures and not self.call.get("init_images"):
            raise InputError("it has no image, and txt2img has none to follow; send one")
        control = Control(
            net,
            pictures[0] if pictures else None,
            unit["weight"],
            unit["guidance_start"],
            unit["guidance_end"],
            _choice("control_mode", unit["control_mode"], MODES),
            preprocessor,
            fit=_choice("resize_mode", unit["resize_mode"], FITS),
            control_type=self._control_type(net, unit["union_control_type"]),
        )
        numbers = unit["processor_res"], unit["threshold_a"], unit["threshold_b"]
        return with_numbers(control, *numbers, notes=self.notes, perfect=unit["pixel_perfect"])

    def _control_type(self, net: str, given: str) -> str:
        union = self.model.stages.controlnets.get(net).bundle.model.control_types
        return given.lower() if union and given != "Unknown" else ""

    def _image_prompts(self, unit: Call, size: tuple[int, int]) -> Iterator[ImagePrompt]:
        adapter = find_model("image-prompt adapter", unit["model"], self.model.stages.image_adapters.offered)
        most, mask = self.settings.max_pixels, None
        if unit["effective_region_mask"]:
            data = image_bytes(unit["effective_region_mask"], "effective_region_mask")
            mask = masks.read(data, size, resize=True, max_pixels=most).levels
        for picture in self._pictures(unit) or [
            read_image(each, "init_images", most) for each in self.call.get("init_images") or ()
        ]:
            weight, start, end = (unit[name] for name in ("weight", "guidance_start", "guidance_end"))
            yield ImagePrompt(picture, weight, start, end, mask, adapter=adapter)

    def _pictures(self, unit: Call) -> list[Any]:
        """The pictures of a unit, in each of the forms that there are."""
        image, pairs = unit["image"], list[Mapping[str, Any]]()
        if isinstance(image, dict):
            pairs = [image]
        elif isinstance(image, list) and image and all(isinstance(each, dict) for each in image):
            pairs = image
        elif isinstance(image, list) and len(image) == 2:
            pairs = [{"image": image[0], "mask": image[1]}]
        elif image:
            pairs = [{"image": image}]
        if unit["mask"] or unit["mask_image"] or any(pair.get("mask") for pair in pairs):
            raise InputError("its mask is not served: what is masked is what is inpainted; leave it out")
        return [read_image(pair.get("image"), "image", self.settings.max_pixels) for pair in pairs]


def with_numbers(
    control: Control, resolution: int, *thresholds: float, notes: list[str], perfect: bool = False
) -> Control:
    """A control whose preprocessor works at a resolution and with thresholds; as there with its own where one is out of
    its range."""
    name, numbers = control.preprocessor, []
    known = PREPROCESSORS[name].numbers if name in PREPROCESSORS else ()
    for given, (title, usual, least, most) in zip(thresholds, known, strict=False):
        numbers.append(given if least <= given <= most else usual)
        if not least <= given <= most and given >= 0:
            notes.append(f"{name}: its {title} is {least:g} to {most:g}, not {given:g}; {usual:g} is taken")
    if perfect or name in WHOLE:
        resolution = 0
    elif not LEAST_RESOLUTION <= resolution <= MOST_RESOLUTION:
        resolution = RESOLUTION
    return replace(control, thresholds=tuple(numbers), resolution=resolution)


def titled(offered: Mapping[str, str]) -> list[str]:
    """Models by name with their hashes, as the extension lists them."""
    return [f"{name} [{sha256[:8]}]" for name, sha256 in offered.items()]


def find_model(kind: str, title: str, offered: Mapping[str, str]) -> str:
    """The name of a model by its name, with its hash or without; raises `InputError` for another."""
    title = title.strip()
    if title in ("", "None"):
        known = ", ".join(titled(offered))
        raise InputError(
            f"it names no model; {f'give one of {known}' if known else 'there is none here, leave it out'}"
        )
    match = _HASH.search(title)
    name, sha256 = (title[: match.start()].rstrip(), match[1]) if match else (title, None)
    for own, hash_ in offered.items():
        if own.lower() == name.lower() or (sha256 and hash_.startswith(sha256)):
            return own
    raise unknown(kind, title[:64], titled(offered))


def _choice(name: str, value: Any, names: Mapping[str, str]) -> str:
    """Our name of a choice that is given by its number or by its name there."""
    own = [each for each in names if each != "guess"]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(own):
        return own[value]
    if isinstance(value, str) and value in _RESIZE_MODES and names is FITS:
        return _RESIZE_MODES[value]
    for each in own:
        if value == names[each]:
            return each
    raise InputError(f"{name} is {str(value)[:64]!r}; give one of {', '.join(names[each] for each in own)}")


@contextmanager
def _of(index: int) -> Iterator[None]:
    try:
        yield
    except InputError as exc:
        raise InputError(f"ControlNet unit {index}: {exc}", "alwayson_scripts") from exc
