"""Image prompts in a request: which pictures steer the model beside the text, how much, when and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError
from ..imaging.picture import Picture, Source, read
from ..sampling.plan import Plan
from . import checks

BLOCKS = ("all", "style", "composition")
BLENDS = ("tokens", "average")
MOST_WEIGHT = 3.0

Parts = tuple[tuple[int | None, tuple[int, ...]], ...]
"""Of each area of the picture its number, None for the whole, and the places of the image prompts that count there."""


@dataclass(frozen=True, eq=False)
class ImagePrompt:
    """One picture that steers the model beside the text (IP-Adapter; Ye et al., arXiv:2308.06721).

    `image` is a path or whatever else `overpaint.read` takes, which becomes a `Picture`. `weight` in [0, 3] is how much
    it counts, from `start` to `end`, shares of the steps that run. Where there is a `mask`, uint8 [height, width] of
    the picture that is repainted, it counts only there. The negative prompt has `negative_image`, or else what stands
    for no picture. `blocks` are the layers that attend to it: "all", "style" or "composition" alone (Wang et al.,
    "InstantStyle", arXiv:2404.02733), or a weight for each layer in the adapter's order. `adapter` is the name of one
    that the model was loaded with or that ships, or a bundle's path; "" is the model's first.
    """

    image: Picture
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mask: Array | None = None
    negative_image: Picture | None = None
    blocks: str | tuple[float, ...] = "all"
    adapter: str = ""

    def __post_init__(self) -> None:
        """Raise `InputError` for a field that cannot be used."""
        with checks.of("image_prompts"):
            self._settle()
            checks.number("an image prompt's weight", self.weight, 0, MOST_WEIGHT)
            for name, share in {"start": self.start, "end": self.end}.items():
                checks.number(f"an image prompt's {name}", share, 0, 1)
            if self.start > self.end:
                cause = f"an image prompt begins at {self.start:g} and ends at {self.end:g} of the steps"
                raise InputError(f"{cause}; put the start first")
            if self.mask is not None:
                checks.mask("an image prompt's mask", self.mask)
            checks.text("an image prompt's adapter", self.adapter)
            if isinstance(self.blocks, str):
                checks.choice("blocks of an image prompt", self.blocks, BLOCKS)
            else:
                for weight in checks.several("an image prompt's blocks", self.blocks):
                    checks.number("a layer's weight", weight, 0, MOST_WEIGHT)

    def _settle(self) -> None:
        """Bring what may be said in several ways to one."""
        blocks: Any = self.blocks
        if isinstance(blocks, list):  # as JSON has them
            object.__setattr__(self, "blocks", tuple(blocks))
        for name in ("image", "negative_image"):
            source: Picture | Source | None = getattr(self, name)
            if not isinstance(source, Picture) and (source is not None or name == "image"):
                object.__setattr__(self, name, _read(source))

    def counts(self, share: float) -> bool:
        """Whether it counts in an evaluation that begins after this share of its pass."""
        return self.weight > 0 and self.start <= share and (share < self.end or self.end == 1)


@dataclass(frozen=True)
class RowImages:
    """What a row has of a request's image prompts: the places of those that count, and whether the negative prompt's
    pictures stand for them."""

    prompts: tuple[int, ...]
    negative: bool = False


def check_blend(prompts: Sequence[ImagePrompt], blend: str) -> None:
    """Raise `InputError` for image prompts that cannot be of one request."""
    adapters = sorted({prompt.adapter for prompt in prompts})
    if len(adapters) > 1:
        named = " and ".join(repr(name) for name in adapters)
        raise InputError(f"image prompts of one request are of one adapter, not of {named}; choose one")
    if blend == "average" and len({prompt.blocks for prompt in prompts}) > 1:
        raise InputError("an average of image prompts has one choice of blocks; give all of them the same, or tokens")


def masks_of(prompts: Sequence[ImagePrompt]) -> list[Array]:
    """The masks of image prompts, each once."""
    made: list[Array] = []
    for prompt in prompts:
        if prompt.mask is not None and not any(np.array_equal(prompt.mask, mask) for mask in made):
            made.append(prompt.mask)
    return made


def parts_of(prompts: Sequence[ImagePrompt], plan: Plan) -> list[Parts]:
    """Which image prompts count where in each evaluation of a plan; their time begins anew in every pass.

    Areas 0 ... n - 1 are those of `masks_of`, n is the rest of the picture. Prompts without a mask count in all.
    """
    masks = masks_of(prompts)
    areas = [
        None if prompt.mask is None else next(n for n, mask in enumerate(masks) if np.array_equal(prompt.mask, mask))
        for prompt in prompts
    ]
    made: list[Parts] = []
    for share in _shares(plan):
        counting = [place for place, prompt in enumerate(prompts) if prompt.counts(share)]
        if all(areas[place] is None for place in counting):
            made.append(((None, tuple(counting)),) if counting else ())
            continue
        made.append(
            tuple(
                (area, tuple(place for place in counting if areas[place] in (None, area)))
                for area in range(len(masks) + 1)
            )
        )
    return made


def _shares(plan: Plan) -> list[float]:
    """After which share of its pass each evaluation begins."""
    counts = [int(np.count_nonzero(plan.pass_index == index)) for index in range(plan.passes)]
    return [place / count for count in counts for place in range(count)]


def _read(source: Source | None) -> Picture:
    if source is None:
        raise InputError("an image prompt has no image; give one")
    return read(source)
