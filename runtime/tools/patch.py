"""A part of a picture, repainted at a size of its own and put back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from ...bundles.tensor import Array
from ..imaging.compose import Certificate, certify, paste, reveal
from ..imaging.fade import fade
from ..imaging.picture import Picture
from ..imaging.ring import RingMatch, ring
from ..imaging.tiles import Window

Size = tuple[int, int]


@dataclass(frozen=True)
class Seam:
    """How a patch meets what is around it.

    Its colour shift is measured on a ring of `width` pixels, 0 for no ring, as a `field` of `imaging.ring`, and taken
    out where that at least halves what the ring is off by: else it is no shift. What is off beside the mask then fades
    over `fade` pixels within it, see `imaging.fade`.
    """

    width: int = 16
    field: str = "constant"
    fade: int = 0


@dataclass(frozen=True, eq=False)
class Patch:
    """The `window` of a picture with its `levels`, uint8 of the window's size: what they have above 0 is replaced.

    The model works on it at `size` (width, height), so that nothing costs it what the whole picture would.
    """

    picture: Picture
    window: Window
    levels: Array
    size: Size

    @property
    def source(self) -> Picture:
        """What the model sees: the window at the working size, seen on white."""
        seen = replace(self._cut, pixels=self._cut.on_white, alpha=None)
        return replace(seen, pixels=scaled(seen.pixels, self.size))

    def put_back(self, repainted: Image.Image, seam: Seam) -> tuple[Picture, tuple[str, ...]]:
        """The picture with what became of its window, opaque there, and notes; everything of level 0 is as it was."""
        whole = _stacked(self.picture)
        pixels = scaled(np.asarray(repainted.convert("RGB")), (self.window.width, self.window.height))
        notes: tuple[str, ...] = ()
        truth = self._cut.on_white
        if seam.width:
            matched = ring(truth, pixels, self.levels, seam.width, seam.field)
            pixels, notes = (matched.pixels if _is_shift(matched) else pixels), _told(matched)
        pixels = fade(truth, pixels, self.levels, seam.fade)
        result, seen = whole.copy(), paste(truth, pixels, self.levels)
        old = whole[self.window.slices]
        result[self.window.slices] = seen if self.picture.alpha is None else reveal(old, seen, self.levels)
        return _unstacked(result), notes

    def certify(self, result: Picture) -> Certificate:
        """What comparing the whole result with the whole picture shows."""
        levels = np.zeros(self.picture.pixels.shape[:2], np.uint8)
        levels[self.window.slices] = self.levels
        return certify(_stacked(self.picture), _stacked(result), levels)

    @property
    def _cut(self) -> Picture:
        alpha = None if self.picture.alpha is None else self.picture.alpha[self.window.slices].copy()
        return replace(self.picture, pixels=self.picture.pixels[self.window.slices].copy(), alpha=alpha)


def scaled(array: Array, size: Size) -> Array:
    """Pixels or levels, uint8 [height, width(, 3)], at another size (width, height), by Lanczos."""
    if array.shape[1::-1] == size:
        return array
    return np.array(Image.fromarray(np.ascontiguousarray(array)).resize(size, Image.Resampling.LANCZOS))


def working_size(window: Window, size: Size, multiple: int) -> Size:
    """The size of a window's shape that fits into `size` (width, height), in multiples, at least one of them."""
    scale = min(size[0] / window.width, size[1] / window.height)
    width, height = (max(round(length * scale / multiple), 1) * multiple for length in (window.width, window.height))
    return width, height


def summed(seconds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Seconds by stage of several runs together."""
    return {stage: sum(each[stage] for each in seconds) for stage in seconds[0]} if seconds else {}


def _is_shift(matched: RingMatch) -> bool:
    return 2 * sum(matched.after) <= sum(matched.before)


def _told(matched: RingMatch) -> tuple[str, ...]:
    if matched.notes or not any(matched.before):
        return matched.notes
    before, after = (f"{np.mean(levels):.1f}" for levels in (matched.before, matched.after))
    end = f"corrected, {after} are left" if _is_shift(matched) else "no even shift, which is left as it is"
    return (f"colours around the mask were off by {before} levels of 255: {end}",)


def _stacked(picture: Picture) -> Array:
    if picture.alpha is None:
        return picture.pixels
    return np.dstack([picture.pixels, picture.alpha])


def _unstacked(pixels: Array) -> Picture:
    if pixels.shape[2] == 3:
        return Picture(pixels)
    return Picture(pixels[..., :3].copy(), pixels[..., 3].copy())
