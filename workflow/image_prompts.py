"""Pictures that steer a model, as inputs of its denoiser."""

from __future__ import annotations

from ..bundles.tensor import Array
from ..engines.arrays import namespace, to_device
from ..runtime.denoising.denoiser import Denoiser
from ..runtime.model.image_prompt import IMAGE
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
            for picture in use.pictures:
                with model.lane.exclusive():
                    made = use.adapter.keys_and_values(((use.negative if negative else picture, 1.0),))
                own = [to_device(array, device) for array in made]
                keys.append(own[0])
                values.append(own[1] * use.weight)
        xp = namespace(device)
        joined = [each[0] if len(each) == 1 else xp.concatenate(each) for each in (keys, values)]
        return dict(zip(denoiser.adapters[IMAGE], joined, strict=True))
