"""Nodes of masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...bundles.tensor import Array
from ..context import Context
from ..node import node, outputs
from ..scaling import scaled_masks
from ..sockets import choice, decimal, flag, integer, link
from .files import preview_image

MASK = link("MASK")
GIVES = outputs("MASK")


@node(
    "SolidMask",
    needed={
        "value": decimal(1.0, 0.0, 1.0),
        "width": integer(512, 1, 16384),
        "height": integer(512, 1, 16384),
    },
    outputs=GIVES,
    category="mask",
)
def solid_mask(context: Context, value: float, width: int, height: int) -> Array:
    """A mask of one value."""
    return np.full((1, height, width), value, np.float32)


@node("InvertMask", needed={"mask": MASK}, outputs=GIVES, category="mask")
def invert_mask(context: Context, mask: Array) -> Array:
    """1 minus the mask."""
    return 1 - mask


@node("MaskToImage", needed={"mask": MASK}, outputs=outputs("IMAGE"), display="Convert Mask to Image", category="mask")
def mask_to_image(context: Context, mask: Array) -> Array:
    """A mask as a grey picture."""
    return np.repeat(mask.reshape(-1, *mask.shape[-2:])[..., None], 3, axis=3)


@node(
    "ImageToMask",
    needed={"image": link("IMAGE"), "channel": choice(("red", "green", "blue", "alpha"))},
    outputs=GIVES,
    display="Convert Image to Mask",
    category="mask",
)
def image_to_mask(context: Context, image: Array, channel: str) -> Array:
    """A channel of a picture; alpha that is not there is 1."""
    place = ("red", "green", "blue", "alpha").index(channel)
    return image[..., place].copy() if place < image.shape[3] else np.ones(image.shape[:3], np.float32)


@node(
    "ImageColorToMask",
    needed={"image": link("IMAGE"), "color": integer(0, 0, 0xFFFFFF, display="color")},
    outputs=GIVES,
    category="mask",
)
def image_color_to_mask(context: Context, image: Array, color: int) -> Array:
    """1 where the picture has a colour, 0xRRGGBB."""
    levels = np.rint(np.clip(image[..., :3], 0, 1) * 255).astype(np.int64)
    return np.asarray((levels @ np.array([65536, 256, 1]) == color).astype(np.float32))


@node(
    "CropMask",
    needed={
        "mask": MASK,
        "x": integer(0, 0, 16384),
        "y": integer(0, 0, 16384),
        "width": integer(512, 1, 16384),
        "height": integer(512, 1, 16384),
    },
    outputs=GIVES,
    category="mask",
)
def crop_mask(context: Context, mask: Array, x: int, y: int, width: int, height: int) -> Array:
    """A rectangle of a mask."""
    return mask[:, y : y + height, x : x + width].copy()


_OPERATIONS: dict[str, Callable[[Array, Array], Array]] = {
    "multiply": lambda a, b: a * b,
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "and": lambda a, b: np.rint(a).astype(bool) & np.rint(b).astype(bool),
    "or": lambda a, b: np.rint(a).astype(bool) | np.rint(b).astype(bool),
    "xor": lambda a, b: np.rint(a).astype(bool) ^ np.rint(b).astype(bool),
}


@node(
    "MaskComposite",
    needed={
        "destination": MASK,
        "source": MASK,
        "x": integer(0, 0, 16384),
        "y": integer(0, 0, 16384),
        "operation": choice(tuple(_OPERATIONS)),
    },
    outputs=GIVES,
    category="mask",
)
def mask_composite(context: Context, destination: Array, source: Array, x: int, y: int, operation: str) -> Array:
    """A mask worked into another at a place."""
    made = destination.copy()
    high, wide = min(source.shape[1], made.shape[1] - y), min(source.shape[2], made.shape[2] - x)
    if high > 0 and wide > 0:
        part = made[:, y : y + high, x : x + wide]
        part[...] = _OPERATIONS[operation](part, source[:, :high, :wide])
    return np.clip(made, 0, 1)


@node(
    "FeatherMask",
    needed={"mask": MASK, **{side: integer(0, 0, 16384) for side in ("left", "top", "right", "bottom")}},
    outputs=GIVES,
    category="mask",
)
def feather_mask(context: Context, mask: Array, left: int, top: int, right: int, bottom: int) -> Array:
    """A mask that rises from its edges."""
    height, width = mask.shape[-2:]
    ramps = [_ramp(height, top, bottom)[:, None], _ramp(width, left, right)]
    return np.asarray(mask * ramps[0] * ramps[1], np.float32)


def _ramp(length: int, before: int, after: int) -> Array:
    ramp = np.ones(length)
    for count, places in ((min(before, length), range(length)), (min(after, length), range(length - 1, -1, -1))):
        for step, place in zip(range(count), places, strict=False):
            ramp[place] *= (step + 1) / count
    return ramp


@node(
    "GrowMask",
    needed={"mask": MASK, "expand": integer(0, -16384, 16384), "tapered_corners": flag(True)},
    outputs=GIVES,
    display="Grow Mask",
    category="mask",
)
def grow_mask(context: Context, mask: Array, expand: int, tapered_corners: bool) -> Array:
    """A mask larger, or smaller, by some pixels; tapered without its corners."""
    pick = np.maximum if expand > 0 else np.minimum
    for _ in range(abs(expand)):
        before = mask
        mask = _spread(before, pick, tapered_corners)
        if np.array_equal(before, mask):
            break
    return mask


def _spread(mask: Array, pick: Callable[[Array, Array], Array], tapered: bool) -> Array:
    """The greatest or least of each place and its 8 neighbours, or 4; edges count as what is inside."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)), "edge")
    height, width = mask.shape[-2:]
    made = mask
    for y in (0, 1, 2):
        for x in (0, 1, 2):
            if not (tapered and x != 1 and y != 1):
                made = pick(made, padded[:, y : y + height, x : x + width])
    return made


@node("ThresholdMask", needed={"mask": MASK, "value": decimal(0.5, 0.0, 1.0)}, outputs=GIVES, category="mask")
def threshold_mask(context: Context, mask: Array, value: float) -> Array:
    """1 where the mask is above a value."""
    return (mask > value).astype(np.float32)


@node("MaskPreview", needed={"mask": MASK}, sink=True, category="mask")
def mask_preview(context: Context, mask: Array) -> object:
    """A mask as a picture in the folder of what is kept for a while."""
    return preview_image.function(context, mask_to_image.function(context, mask))


@node(
    "JoinImageWithAlpha",
    needed={"image": link("IMAGE"), "alpha": MASK},
    outputs=outputs("IMAGE"),
    category="mask/compositing",
)
def join_image_with_alpha(context: Context, image: Array, alpha: Array) -> Array:
    """A picture that shows through where the mask is 1."""
    count = min(len(image), len(alpha))
    clear = 1 - scaled_masks(alpha[:count], image.shape[2], image.shape[1])
    return np.concatenate([image[:count, ..., :3], clear[..., None]], axis=3)


@node(
    "SplitImageWithAlpha",
    needed={"image": link("IMAGE")},
    outputs=outputs("IMAGE", "MASK"),
    category="mask/compositing",
)
def split_image_with_alpha(context: Context, image: Array) -> tuple[Array, Array]:
    """The colours of a picture, and where it shows through."""
    alpha = image[..., 3] if image.shape[3] > 3 else np.ones(image.shape[:3], np.float32)
    return image[..., :3], 1 - alpha
