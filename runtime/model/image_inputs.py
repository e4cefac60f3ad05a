"""A request's image prompts as inputs of the denoiser."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...bundles.tensor import Array
from ...engines.arrays import namespace, to_device
from ..imaging.picture import Picture
from ..requests.image_prompts import ImagePrompt, RowImages
from ..requests.request import Request
from ..units import Units
from .image_blocks import layer_weights
from .image_prompt import ImagePromptAdapter, Shares
from .stats import RunStats


class ImageInputs:
    """What rows have of the image prompts of one request, by the denoiser's `names` of keys and values, on its device.

    The pictures' tokens stand side by side, each picture's values times its weight, as diffusers has several images of
    one adapter; of an average there is one picture's worth of them.
    """

    def __init__(
        self, adapter: ImagePromptAdapter, request: Request, names: Sequence[str], device: str, stats: RunStats
    ) -> None:
        self._adapter = adapter
        self._request = request
        self._names = names
        self._device = device
        self._stats = stats
        self._made: dict[RowImages, dict[str, Array]] = {}

    def of(self, images: RowImages) -> Units[dict[str, Array]]:
        """The inputs of a row, in units: a picture's way through the encoder."""
        if images not in self._made:
            prompts = [self._request.image_prompts[place] for place in images.prompts]
            for prompt in prompts:
                yield from self._encode(prompt, images.negative)
            with self._stats.stage("text"):
                self._made[images] = self._inputs(prompts, images.negative)
        return self._made[images]

    def _encode(self, prompt: ImagePrompt, negative: bool) -> Units[None]:
        with self._stats.stage("text"):
            features, cached = self._adapter.features(_shown(prompt, negative))
            self._stats.encodings.append(("image_encoder", features))
        if not cached:
            yield

    def _inputs(self, prompts: Sequence[ImagePrompt], negative: bool) -> dict[str, Array]:
        groups = self._groups(prompts, negative)
        keys, values = [], []
        for pictures, weight, prompt in groups:
            made = self._adapter.keys_and_values(pictures)
            own_keys, own_values = (to_device(array, self._device) for array in made)
            keys.append(own_keys)
            values.append(own_values * self._counts(weight, prompt))
        xp = namespace(self._device)
        joined = (keys[0], values[0]) if len(keys) == 1 else (xp.concatenate(keys), xp.concatenate(values))
        return dict(zip(self._names, joined, strict=True))

    def _groups(self, prompts: Sequence[ImagePrompt], negative: bool) -> list[tuple[Shares, float, ImagePrompt]]:
        """Pictures that become tokens together, with what these count."""
        if self._request.image_blend == "tokens":
            return [(((_shown(prompt, negative), 1.0),), prompt.weight, prompt) for prompt in prompts]
        total = sum(prompt.weight for prompt in prompts)
        shares = tuple((_shown(prompt, negative), prompt.weight / total) for prompt in prompts)
        # Their mean weight, each as often as it counts: one picture's is its own, equal ones' are theirs.
        weight = sum(prompt.weight * share for prompt, (_, share) in zip(prompts, shares, strict=True))
        return [(shares, weight, prompts[0])]

    def _counts(self, weight: float, prompt: ImagePrompt) -> Array:
        whole = np.float32(weight * self._request.image_weight)
        layers = layer_weights(self._adapter.layers, prompt.blocks)
        return to_device(np.asarray(whole if layers is None else layers * whole, np.float32), self._device)


def _shown(prompt: ImagePrompt, negative: bool) -> Picture | None:
    return prompt.negative_image if negative else prompt.image
