"""Pictures that steer a model, as inputs of its denoiser."""

from __future__ import annotations

import numpy as np

from ..bundles.tensor import Array
from ..engines.arrays import namespace, to_device
from ..runtime.denoising.denoiser import Denoiser
from ..runtime.model.image_blocks import layer_weights
from ..runtime.model.image_prompt import IMAGE, Shares
from .guided_times import percent_sigma
from .values import Diffusion, ImageUse


class ImageRows:
    """What the rows of one sampling have of its image prompts, each encoded once."""

    def __init__(self, diffusion: Diffusion) -> None:
        self._diffusion = diffusion
        self._made: dict[tuple[tuple[int, ...], bool], dict[str, Array]] = {}

    def at(self, sigma: float, negative: bool) -> dict[str, Array]:
        """The inputs of a row at a noise level; none where no picture counts."""
        schedule, uses = self._diffusion.model.schedule, self._diffusion.images
        active = tuple(
            place
            for place, use in enumerate(uses)
            if percent_sigma(schedule, use.end) <= sigma <= percent_sigma(schedule, use.start)
        )
        if not active:
            return {}
        if (active, negative) not in self._made:
            self._made[active, negative] = self._inputs([uses[place] for place in active], negative)
        return self._made[active, negative]

    def _inputs(self, uses: list[ImageUse], negative: bool) -> dict[str, Array]:
        """The pictures' tokens side by side, the values times their weights."""
        model = self._diffusion.model
        denoiser: Denoiser = model.stages.denoiser
        device, keys, values = denoiser.engine.device, list[Array](), list[Array]()
        for use in uses:
            use.adapter.check(model.bundle)
            counts = layer_weights(use.adapter.layers, use.blocks)
            weight = to_device(np.asarray(use.weight if counts is None else counts * use.weight, np.float32), device)
            for shares in _shares(use, negative):
                with model.lane.exclusive():
                    made = use.adapter.keys_and_values(shares)
                own = [to_device(array, device) for array in made]
                keys.append(own[0])
                values.append(own[1] * weight)
        xp = namespace(device)
        joined = [each[0] if len(each) == 1 else xp.concatenate(each) for each in (keys, values)]
        return dict(zip(denoiser.adapters[IMAGE], joined, strict=True))


def _shares(use: ImageUse, negative: bool) -> list[Shares]:
    """The pictures whose tokens stand side by side, or one average of them."""
    shown = [use.negative if negative else picture for picture in use.pictures]
    if use.average:
        return [tuple((picture, 1 / len(shown)) for picture in shown)]
    return [((picture, 1.0),) for picture in shown]
