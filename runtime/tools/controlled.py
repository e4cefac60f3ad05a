"""Controls of a tool's whole picture, cut for the parts of it that the model works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..imaging import resize
from ..imaging.picture import Picture
from ..imaging.tiles import Window
from ..model.model import Model
from ..requests.controls import Control
from .patch import scaled

Size = tuple[int, int]


def whole(model: Model, controls: Sequence[Control], picture: Picture) -> tuple[Control, ...]:
    """Controls whose images have the size of a picture; those that follow the picture itself have it as theirs.

    Raises `InputError` for a ControlNet that is not known, or is of another family than the model.
    """
    return tuple(_whole(model, each, picture) for each in controls)


def _whole(model: Model, control: Control, picture: Picture) -> Control:
    own = model.stages.controlnets.get(control.net).bundle.model.preprocessor
    if control.image is None:
        seen = Picture(picture.on_white)
        return replace(control, image=seen, preprocessor=control.preprocessor or own)
    return replace(control, image=resize.fit(control.image, picture.size, control.fit, 1)[0])


def cut(controls: Sequence[Control], window: Window, size: Size) -> tuple[Control, ...]:
    """Controls of a whole picture for one window of it, which is worked on at `size` (width, height)."""
    return tuple(_cut(each, window, size) for each in controls)


def _cut(control: Control, window: Window, size: Size) -> Control:
    assert control.image is not None
    return replace(control, image=Picture(scaled(control.image.on_white[window.slices], size).copy()))
