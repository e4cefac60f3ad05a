"""Preprocessors: what turns a picture into what a ControlNet is shown, by the names that sd-webui-controlnet has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ...bundles.tensor import Array
from ...errors import InputError, unknown
from .hints import canny
from .line_hints import gaussian, lineart, threshold, xdog

HIDDEN = -1.0
"""What a ControlNet for inpainting is shown of a pixel that is masked; others are in [0, 1]."""
CELL = 64


@dataclass(frozen=True)
class Preprocessor:
    """One way to a hint: `make` takes uint8 [height, width, 3] and the numbers, and gives uint8 [height, width(, 3)].

    `numbers` are the usual thresholds, each with its name, least and most.
    """

    make: Callable[..., Array]
    numbers: tuple[tuple[str, float, float, float], ...] = ()

    def usual(self, given: Sequence[float]) -> tuple[float, ...]:
        """The numbers that are used; raises `InputError` for too many, or for one out of its range."""
        if len(given) > len(self.numbers):
            names = ", ".join(name for name, *_ in self.numbers) or "none"
            raise InputError(f"{len(given)} thresholds are given, the preprocessor has: {names}")
        for value, (name, _, least, most) in zip(given, self.numbers, strict=False):
            if not least <= value <= most:
                raise InputError(f"the preprocessor's {name} is a number from {least:g} to {most:g}, not {value!r}")
        return (*given, *(usual for _, usual, _, _ in self.numbers[len(given) :]))


def _resampled(pixels: Array, factor: float) -> Array:
    """A picture whose finest detail is left out: reduced `factor` times, and enlarged again."""
    height, width = pixels.shape[:2]
    small = max(round(width / factor), 1), max(round(height / factor), 1)
    image = Image.fromarray(np.ascontiguousarray(pixels)).resize(small, Image.Resampling.BOX)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def _colour_grid(pixels: Array) -> Array:
    """The mean colour of each cell of `CELL` pixels."""
    height, width = pixels.shape[:2]
    small = max(width // CELL, 1), max(height // CELL, 1)
    image = Image.fromarray(np.ascontiguousarray(pixels)).resize(small, Image.Resampling.BOX)
    return np.asarray(image.resize((width, height), Image.Resampling.NEAREST))


PREPROCESSORS: Mapping[str, Preprocessor] = {
    "none": Preprocessor(lambda pixels: pixels),
    "invert": Preprocessor(lambda pixels: 255 - pixels),
    "canny": Preprocessor(
        lambda pixels, low, high: canny(pixels, round(low), round(high)),
        (("low threshold", 100, 0, 2040), ("high threshold", 200, 0, 2040)),
    ),
    "lineart_standard": Preprocessor(lineart),
    "scribble_xdog": Preprocessor(xdog, (("threshold", 32, 1, 64),)),
    "threshold": Preprocessor(threshold, (("level", 127, 0, 255),)),
    "tile_resample": Preprocessor(_resampled, (("down-sampling rate", 1, 1, 8),)),
    "blur_gaussian": Preprocessor(
        lambda pixels, sigma: np.rint(gaussian(pixels, sigma)).astype(np.uint8), (("sigma", 9, 0.01, 64),)
    ),
    "color_grid": Preprocessor(_colour_grid),
}
INPAINT = "inpaint"
"""The preprocessor that hides what is masked; only it looks at the mask."""
NAMES = (*PREPROCESSORS, INPAINT)
ALIASES: Mapping[str, str] = {
    "invert (from white bg & black line)": "invert",
    "lineart_standard (from white bg & black line)": "lineart_standard",
    "lineart": "lineart_standard",
    "scribble": "scribble_xdog",
    "tile": "tile_resample",
    "blur": "blur_gaussian",
    "color": "color_grid",
    "colour": "color_grid",
    "t2ia_color_grid": "color_grid",
    "inpaint_only": INPAINT,
    "inpaint_global_harmonious": INPAINT,
}
"""Other names, among them those of sd-webui-controlnet's modules."""
# sd-webui-controlnet's modules that are networks.
_NETWORKS = (
    "depth", "openpose", "dw_openpose", "animal_openpose", "densepose", "normal", "seg", "hed", "softedge", "mlsd",
    "lineart_", "scribble_", "mediapipe", "oneformer",
)  # fmt: skip


def find_preprocessor(name: str) -> str:
    """The name of a preprocessor by one of its names; raises `InputError` for one that is not there."""
    own = ALIASES.get(name, name)
    if own in NAMES:
        return own
    if name.startswith(_NETWORKS):
        raise InputError(
            f"the preprocessor {name} is a network of its own, which is not in the box; export it to ONNX and name the "
            "file, onnx:FILE, or give the picture that it made and the preprocessor none"
        )
    raise unknown("preprocessor", name, NAMES)


def preprocess(name: str, pixels: Array, numbers: Sequence[float] = (), mask: Array | None = None) -> Array:
    """The hint of a picture, uint8 [height, width, 3] -> float32 [3, height, width] in [0, 1].

    `numbers` are the preprocessor's thresholds, its own where they are left out. "inpaint" has -1 where the `mask`,
    uint8 [height, width], is 128 or more. Raises `InputError` for another name, and for a number that it cannot have.
    """
    if name == INPAINT:
        if mask is None:
            raise InputError("the preprocessor inpaint needs a mask: use it when inpainting, or choose another")
        shown = _planes(pixels)
        shown[:, mask >= 128] = HIDDEN
        return shown
    chosen = PREPROCESSORS[find_preprocessor(name)]
    return _planes(chosen.make(np.asarray(pixels), *chosen.usual(numbers)))


def _planes(pixels: Array) -> Array:
    wide = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(wide.transpose(2, 0, 1), np.float32) / np.float32(255)
