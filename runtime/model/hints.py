"""A request's controls, made ready: each with its ControlNet, and its hint at the size that the model works at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ...bundles.tensor import Array
from ..imaging import resize
from ..imaging.picture import Picture
from ..imaging.preprocessors import preprocess
from ..provenance.control_texts import ControlText
from ..requests import checks
from ..requests.controls import ONNX, Control
from .controlnet import ControlNet, ControlNets
from .hint_model import HintModels, run_hint_model

HINT, TYPE = "hint", "control_type"
"""A ControlNet's inputs for the picture that it follows, and for what a union model is to take it for."""
# How far the aspects of a hint and its picture may differ without a note.
ALIKE = 0.02
# The preprocessor whose hints are white lines on black, and the mean level above which a hint is none of these.
CANNY, MOSTLY_WHITE = "canny", 0.5


@dataclass(frozen=True, eq=False)
class PreparedControl:
    """A control with its ControlNet, and its hint: float32 [3, height, width] of the model's size, in [0, 1] or -1;
    the number of its type, of a union model."""

    control: Control
    net: ControlNet
    hint: Array
    preprocessor: str
    control_type: int | None = None

    @property
    def inputs(self) -> dict[str, Array]:
        """What its graph takes besides latents, timestep and text."""
        return hint_inputs(self.net, self.hint, self.control_type)

    @property
    def text(self) -> ControlText:
        """What parameters texts say of it."""
        own = self.control.net
        name = own if Path(own).name == own else self.net.bundle.model.name
        return ControlText(self.control, name, self.net.sha256, self.preprocessor)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the hint that an image of the control's own becomes."""
        image = self.control.image
        return () if image is None else tuple(filter(None, (self._on_shape(image), self._on_lines())))

    def _on_shape(self, image: Picture) -> str | None:
        height, width = self.hint.shape[1:]
        own = image.size[0] / image.size[1]
        if abs(own / (width / height) - 1) <= ALIKE:
            return None
        ways = {"crop": "what overhangs is cut off", "stretch": "it is stretched", "pad": "its edges are repeated"}
        return (
            f"the image of the ControlNet {self.net.bundle.model.name} is {image.size[0]}x{image.size[1]}, of another "
            f"shape than the picture: {ways[self.control.fit]}"
        )

    def _on_lines(self) -> str | None:
        facts = self.net.bundle.model
        if self.preprocessor != "none" or facts.preprocessor != CANNY or self.hint.mean() <= MOSTLY_WHITE:
            return None
        return (
            f"the image of the ControlNet {facts.name} is mostly white, and hints for {CANNY} are white lines on "
            f"black; add preprocessor={CANNY} to have them made of it"
        )


def hint_inputs(net: ControlNet, hint: Array, control_type: int | None) -> dict[str, Array]:
    """What a ControlNet takes of a hint; `control_type` is the number of its type, None but for a union model."""
    if control_type is None:
        return {HINT: hint}
    types = np.zeros(len(net.bundle.model.control_types), np.float32)
    types[control_type] = 1
    return {HINT: hint, TYPE: types}


def prepared_controls(
    controls: Sequence[Control],
    nets: ControlNets,
    picture: Picture,
    size: tuple[int, int],
    multiple: int,
    mask: Array | None,
) -> tuple[PreparedControl, ...]:
    """The controls that count, ready for `picture`, which has the model's size; `size` (width, height) is that without
    what was added to reach whole multiples, `mask` uint8 [height, width] what is repainted.

    Raises `InputError` for an unknown ControlNet or one of another family, and as the preprocessors do.
    """
    return tuple(_prepared(each, nets, picture, size, multiple, mask) for each in controls if each.weight)


def _prepared(
    control: Control,
    nets: ControlNets,
    picture: Picture,
    size: tuple[int, int],
    multiple: int,
    mask: Array | None,
) -> PreparedControl:
    net = nets.get(control.net)
    facts = net.bundle.model
    with checks.of("controls"):
        kind = facts.control_type(control.control_type)
        name = control.preprocessor or (facts.preprocessor if control.image is None else "none")
        if control.image is None:
            source = picture
        elif control.resolution:
            source = control.image
        else:
            source = resize.fit(control.image, size, control.fit, multiple)[0]
        hint = hint_of(control, name, source, nets.hint_models, mask)
        if control.image is not None and control.resolution:
            hint = _fitted(hint, size, control.fit, multiple)
        return PreparedControl(control, net, _scaled(hint, picture.size), name, kind)


def hint_of(control: Control, name: str, source: Picture, models: HintModels, mask: Array | None = None) -> Array:
    """The hint that the preprocessor `name` makes of a picture, float32 [3, height, width] in [0, 1] or -1, at its own
    size or at the control's resolution; `mask` uint8 [height, width] is what is repainted."""
    scale = (control.resolution or min(source.size)) / min(source.size)
    width, height = (max(round(length * scale), 1) for length in source.size)
    if name != "none":
        models.check_size((width, height))
    pixels = source.on_white
    if control.resolution:
        pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
        if mask is not None:
            mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    if name.startswith(ONNX):
        return run_hint_model(models.file(name.removeprefix(ONNX)), pixels)
    return preprocess(name, pixels, control.thresholds, mask)


def _fitted(hint: Array, size: tuple[int, int], fit: str, multiple: int) -> Array:
    """A hint of any size brought to the model's the way an image is."""
    levels = np.rint(hint.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    picture = resize.fit(Picture(np.ascontiguousarray(levels)), size, fit, multiple)[0]
    return np.ascontiguousarray(picture.pixels.transpose(2, 0, 1), np.float32) / np.float32(255)


def _scaled(hint: Array, size: tuple[int, int]) -> Array:
    """A hint float32 [3, height, width] at (width, height)."""
    if hint.shape[:0:-1] == size:
        return hint
    # What is hidden has no levels between.
    way = Image.Resampling.NEAREST if hint.min() < 0 else Image.Resampling.BICUBIC
    planes = [np.asarray(Image.fromarray(plane).resize(size, way)) for plane in hint]
    return np.stack(planes).clip(min(hint.min(), 0), 1)
