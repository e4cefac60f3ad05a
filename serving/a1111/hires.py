"""A1111's "Hires. fix": text to picture, and the picture enlarged and repainted."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from PIL import Image

from ...errors import InputError
from ...runtime.denoising.loop import Step
from ...runtime.execution.run import Run
from ...runtime.imaging.metadata import format_parameters, parse_parameters
from ...runtime.imaging.picture import Picture
from ...runtime.imaging.picture import read as read_picture
from ...runtime.model.model import Model
from ...runtime.model.upscaler import Upscaler
from ...runtime.requests.request import Request
from ...runtime.requests.result import Output
from ...runtime.tools.enlarge import enlarge
from ..made import Made, MadePicture
from ..orders import Order, Tool
from ..service import Service
from .lists import NEAREST, upscaler_name
from .loops import requests_of
from .options import Reading, Size
from .pictures import check_pixels, resized


@dataclass(frozen=True)
class Second:
    """The second pass of A1111's "Hires. fix": its size (width, height), what enlarges, and what its requests have
    otherwise. It runs `steps` steps, whatever the strength."""

    size: Size
    upscaler: str
    steps: int
    strength: float
    changes: dict[str, Any]

    def requests(self, firsts: Sequence[Request], images: Sequence[Picture]) -> list[Request]:
        """The requests of the pass.

        A1111 takes the last `steps` of a schedule of int(steps / strength) there (`setup_img2img_steps` where the
        number of steps is given). By the rule of its convention, int(strength * schedule) + 1 steps run: half a step
        less than wanted is rounded to it.
        """
        whole = max(int(self.steps / min(self.strength, 0.999)), self.steps)
        strength = min((self.steps - 0.5) / whole, 1.0)
        changes = {"size": None, "inpaint_mask": None, "steps": whole, "strength": strength, **self.changes}
        return [replace(first, image=image, **changes) for first, image in zip(firsts, images, strict=True)]

    def enlarged(self, image: Image.Image, upscaler: Upscaler | None) -> Picture:
        """A picture of the pass's size."""
        picture = read_picture(image)
        return (
            enlarge(picture, self.size, upscaler) if upscaler else resized(picture, self.size, self.upscaler == NEAREST)
        )

    def parameters(self, output: Output, first: Request) -> str:
        """The text of both passes, as A1111 writes it."""
        width, height = first.size or first.image.size
        parsed = parse_parameters(output.parameters)
        extra = {
            **dict(parsed.extra),
            "Hires resize": "x".join(map(str, self.size)),
            "Hires steps": str(self.steps),
            "Hires upscaler": self.upscaler,
        }
        return format_parameters(
            replace(
                parsed,
                prompt=first.prompt,
                negative_prompt=first.negative_prompt,
                steps=first.steps,
                denoising_strength=self.strength,
                size=(width, height),
                extra=tuple(extra.items()),
            )
        )


class TwoPasses:
    """Text to picture, and the picture enlarged and repainted."""

    def __init__(self, model: Model, requests: Sequence[Request], second: Second, upscaler: Upscaler | None) -> None:
        self._model, self._second, self._upscaler = model, second, upscaler
        self._first = Run(model, requests, paced=False)
        self._requests = requests
        # What cannot be known to be wrong before the first pass is only what its pictures are.
        stand_in = resized(requests[0].image, second.size)
        later = Run(model, second.requests(requests, [stand_in] * len(requests)), paced=False)
        self.evaluations = self._first.evaluations + later.evaluations
        self._outputs: tuple[Output, ...] = ()

    def __iter__(self) -> Generator[Step]:
        """Do the work."""
        yield from self._first
        firsts = self._first.result().images
        images = [self._second.enlarged(image, self._upscaler) for image in firsts]
        run = Run(self._model, self._second.requests(self._requests, images), paced=False)
        yield from run
        self._outputs = run.result().outputs

    def made(self) -> Made:
        """The pictures of the second pass."""
        return Made(tuple(self._made(output, index) for index, output in enumerate(self._outputs)), {}, {})

    def _made(self, output: Output, index: int) -> MadePicture:
        text = self._second.parameters(output, self._requests[index])
        return replace(MadePicture.of(replace(output, recorder=None)), parameters=text)


def twice(service: Service, reading: Reading, order: Order) -> Order:
    """An order of txt2img with a second pass; raises `InputError` for one that is not served."""
    call = reading.call
    upscaler = upscaler_name(service, call["hr_upscaler"] or "Latent", "hr_upscaler", pixels=True)
    name = call["hr_sampler_name"]
    changes: dict[str, Any] = {}
    if name not in (None, "", "Use same sampler"):
        changes = {"schedule": None, "eta": None, **reading.sampling(name, _own(call["hr_scheduler"]))}
    elif scheduler := _own(call["hr_scheduler"]):
        changes = reading.sampling(call["sampler_name"] or call["sampler_index"], scheduler)
    for field in ("prompt", "negative_prompt"):
        if call[f"hr_{field}"]:
            changes[field] = call[f"hr_{field}"]
    size = _second_size(reading)
    check_pixels(size, service.settings.max_pixels, "hr_scale")
    steps = call["hr_second_pass_steps"] or call["steps"]
    strength = call["denoising_strength"]
    if not 0 < strength <= 1:
        raise InputError(f"denoising_strength is {strength:g}; of a second pass it is above 0, and at most 1")
    second = Second(size, upscaler, steps, strength, changes)
    work = partial(_two_passes, second=second)
    return replace(order, work=work, upscaler=upscaler if upscaler in service.upscalers else "")


def _second_size(reading: Reading) -> Size:
    """The second pass's size: of one side, the other follows."""
    call, (width, height) = reading.call, reading.size
    wide, high = call["hr_resize_x"], call["hr_resize_y"]
    if min(wide, high) < 0:
        raise InputError("hr_resize_x and hr_resize_y are 0 or more", "hr_resize_x")
    if wide and high:
        # A1111 covers the size, and cuts what overhangs.
        if wide * height != high * width:
            raise InputError("hr_resize_x and hr_resize_y keep the shape of width and height here; give one of them")
        return int(wide), int(high)
    if wide or high:
        return (int(wide), int(wide) * height // width) if wide else (int(high) * width // height, int(high))
    if not 1 <= call["hr_scale"] <= 16:
        raise InputError(f"hr_scale is {call['hr_scale']:g}; give 1 to 16", "hr_scale")
    return int(width * call["hr_scale"]), int(height * call["hr_scale"])


def _own(name: str | None) -> str | None:
    """A scheduler of the second pass, None for the first's."""
    return None if name in (None, "", "Use same scheduler") else name


def _two_passes(order: Order, model: Model, upscaler: Upscaler | None, second: Second) -> Tool:
    work = TwoPasses(model, requests_of(order, model), second, upscaler)
    return Tool(work, work.made)
