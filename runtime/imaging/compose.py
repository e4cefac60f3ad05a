"""Putting what was repainted back into its picture, and proving what was left alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError
from .tiles import strips


@dataclass(frozen=True)
class Certificate:
    """What comparing a result with its original showed, counted in pixels.

    `masked` pixels have a mask above 0 and `kept` none; of the masked, `changed` differ from the original.
    `largest_outside` is the largest difference in levels, over all channels, among those that were to be kept.
    """

    masked: int
    kept: int
    changed: int
    largest_outside: int

    @property
    def exact(self) -> bool:
        """Is everything outside the mask the original's, bit for bit?"""
        return self.largest_outside == 0

    def __str__(self) -> str:
        left = "exactly as they were" if self.exact else f"up to {self.largest_outside} levels off"
        return f"{self.changed} of {self.masked} masked pixels changed, the {self.kept} others are {left}"


def paste(original: Array, repainted: Array, levels: Array) -> Array:
    """The original with the repainted pixels where the mask has them, feathered in between, as the original's shape.

    `original` and `repainted` are uint8 [height, width] or [height, width, channels], `levels` is uint8 [height,
    width]. Pixels of mask 0 are the original's and those of 255 the repainted, both bit for bit; so is a pixel that is
    the same in both. An original with alpha [height, width, 4] keeps that where `repainted` has 3 channels.

    Raises `InputError` for shapes that do not go together.
    """
    _check(original, repainted, levels)
    result = original.copy()
    painted = result[..., :3] if _keeps_alpha(original, repainted) else result
    for rows in strips(*levels.shape):
        weight = levels[rows]
        if weight.any():
            painted[rows] = _mix(
                painted[rows], repainted[rows], weight.reshape(*weight.shape, *[1] * (result.ndim - 2))
            )
    return result


def reveal(original: Array, seen: Array, levels: Array) -> Array:
    """A picture with alpha, uint8 [height, width, 4], that is opaque where it was repainted.

    `original` is uint8 [height, width, 4], `seen` uint8 [height, width, 3] what it is to look like on white, `levels`
    uint8 [height, width] how much of each pixel is new: so much of its transparency is gone, and its colour is what
    shows as `seen`. Pixels of level 0 are the original's, bit for bit.

    Raises `InputError` for shapes that do not go together.
    """
    _check(original, seen, levels)
    result = original.copy()
    for rows in strips(*levels.shape):
        new, alpha = levels[rows].astype(np.uint16), original[rows][..., 3].astype(np.uint16)
        alpha = 255 - ((255 - alpha) * (255 - new) + 127) // 255
        # What white shows through is taken off again.
        part = np.maximum(alpha, 1)[..., None].astype(np.int32)
        colour = (255 * (seen[rows].astype(np.int32) - 255) + part // 2) // part + 255
        whole = np.concatenate([np.clip(colour, 0, 255), alpha[..., None]], axis=2).astype(np.uint8)
        result[rows] = np.where(new[..., None] > 0, whole, original[rows])
    return result


def certify(original: Array, result: Array, levels: Array) -> Certificate:
    """Compare a result with its original, uint8 [height, width(, channels)], under the mask uint8 [height, width].

    Raises `InputError` for shapes that do not go together.
    """
    _check(original, result, levels)
    if original.shape != result.shape:
        raise InputError("a result is certified with all channels of its original; give both with or without alpha")
    masked = changed = largest = 0
    for rows in strips(*levels.shape):
        inside = levels[rows] > 0
        masked += int(np.count_nonzero(inside))
        # Most of a large picture is as it was, which is seen faster than how far apart pixels are.
        if np.array_equal(original[rows], result[rows]):
            continue
        apart = np.maximum(original[rows], result[rows]) - np.minimum(original[rows], result[rows])
        apart = apart.reshape(*inside.shape, -1).max(axis=2)
        changed += int((apart[inside] > 0).sum())
        largest = max(largest, int(apart[~inside].max(initial=0)))
    return Certificate(masked, levels.size - masked, changed, largest)


def _mix(old: Array, new: Array, weight: Array) -> Array:
    """To nearest, in integers: 255 * 255 + 127 is within 16 bits."""
    weight = weight.astype(np.uint16)
    mixed: Array = (old * (255 - weight) + new * weight + np.uint16(127)) // np.uint16(255)
    return mixed.astype(np.uint8)


def _keeps_alpha(original: Array, repainted: Array) -> bool:
    return original.ndim == 3 and original.shape[2] == 4 and repainted.shape[2:] == (3,)


def _check(original: Array, other: Array, levels: Array) -> None:
    if any(array.dtype != np.uint8 for array in (original, other, levels)):
        raise InputError(f"pixels and mask are uint8, not {original.dtype}, {other.dtype} and {levels.dtype}")
    if original.shape != other.shape and not (_keeps_alpha(original, other) and original.shape[:2] == other.shape[:2]):
        raise InputError(f"pixels of shape {list(other.shape)} do not go into a picture of {list(original.shape)}")
    if original.shape[:2] != levels.shape:
        raise InputError(f"a mask of shape {list(levels.shape)} does not go with pixels of {list(original.shape)}")
