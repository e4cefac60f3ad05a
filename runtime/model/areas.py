"""Where rows count: the areas of regions and of image prompts, in latents."""

from __future__ import annotations

from collections.abc import Sequence

from ...bundles.tensor import Array
from ...engines.arrays import to_device
from ..imaging.mask import to_latents
from ..requests.guidance import WeightedPhrase, shares
from .planning import PreparedRequest


class Areas:
    """The areas of one request's rows, float32 [height, width] of the latents on the denoiser's device."""

    def __init__(self, prepared: PreparedRequest, downscale: int, device: str) -> None:
        self._device = device
        self._regions = _shares([region.mask for region in prepared.regions], downscale)
        self._images = _shares(prepared.image_masks, downscale)
        self._made: dict[tuple[int | None, int | None], tuple[Array, bool] | None] = {}

    def of(self, phrase: WeightedPhrase) -> Array | None:
        """Where a phrase counts; None everywhere."""
        area = self._area(phrase)
        return None if area is None else area[0]

    def anywhere(self, phrase: WeightedPhrase) -> bool:
        """Whether there is a position where a phrase counts; what has an image prompt nowhere needs no row."""
        area = self._area(phrase)
        return area is None or phrase.part is None or area[1]

    def _area(self, phrase: WeightedPhrase) -> tuple[Array, bool] | None:
        """Where a phrase counts, and whether it does anywhere."""
        key = phrase.place, phrase.part
        if key not in self._made:
            region = None if phrase.place is None else self._regions[phrase.place]
            image = None if phrase.part is None else self._images[phrase.part]
            whole = image if region is None else region if image is None else region * image
            self._made[key] = None if whole is None else (to_device(whole, self._device), bool(whole.any()))
        return self._made[key]


def _shares(masks: Sequence[Array], downscale: int) -> list[Array]:
    return shares([to_latents(mask, downscale, "area") for mask in masks]) if masks else []
