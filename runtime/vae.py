"""Pixels to latents and back through the autoencoder, in tiles where a picture is large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..engines.base import Array, Engine, ModelOutputError
from ..engines.buffers import device_of, namespace, to_device
from ..engines.bundle import ModelFacts
from .cache import Cache, content
from .imaging.tiles import Window, blend, windows


@dataclass(frozen=True)
class Moments:
    """The encoder's distribution over latents, float32 [channels, height, width]; `std` is None where it has none."""

    mean: Array
    std: Array | None


class Autoencoder:
    """The two halves of a VAE.

    A picture of more than `tile` x `tile` pixels goes through in overlapping windows of at most that size, blended
    linearly over an eighth of it, so that memory does not grow with the picture.
    """

    def __init__(self, encoder: Engine, decoder: Engine, facts: ModelFacts, tile: int, cache_size: int = 8) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self._facts = facts
        # Tiles and overlaps are whole numbers of the model's multiple, in pixels and in latents alike.
        self._tile = max(tile // facts.multiple, 4) * facts.multiple
        self._overlap = max(self._tile // 8 // facts.multiple, 1) * facts.multiple
        self._cache: Cache[Moments] = Cache(cache_size)

    def encode(self, pixels: Array) -> tuple[Moments, bool]:
        """The moments of a picture, float32 [3, height, width] in [-1, 1] on the host, and whether they were cached.

        Raises `ModelOutputError` for NaN or infinity.
        """
        return self._cache.get(content(pixels), lambda: self._encode(pixels))

    def latents(self, moments: Moments, noise: Callable[[], Array] | None) -> Array:
        """The denoiser's latents, float32 [channels, height, width]: a draw from the moments, or their mean."""
        draw = moments.mean
        if moments.std is not None and noise is not None:
            draw = draw + moments.std * to_device(noise().reshape(draw.shape), device_of(draw))
        return (draw - np.float32(self._facts.shift_factor)) * np.float32(self._facts.scaling_factor)

    def decode(self, latents: Array) -> Array:
        """The picture of the denoiser's latents, float32 [3, height, width] on the decoder's device, about [-1, 1].

        Raises `ModelOutputError` for NaN or infinity.
        """
        scale = self._facts.downscale
        latents = to_device(latents, self.decoder.device)
        raw = latents / np.float32(self._facts.scaling_factor) + np.float32(self._facts.shift_factor)
        height, width = (length * scale for length in latents.shape[-2:])
        parts = (
            (window, _run(self.decoder, "vae_decoder", "latents", window.scaled(scale).cut(raw))["pixels"])
            for window in self._windows(height, width)
        )
        return blend((3, height, width), parts, self._overlap)

    def _encode(self, pixels: Array) -> Moments:
        scale = self._facts.downscale
        height, width = pixels.shape[-2:]
        shape = (self._facts.latent_channels, height // scale, width // scale)
        found = [
            (window.scaled(scale), _run(self.encoder, "vae_encoder", "pixels", window.cut(pixels)))
            for window in self._windows(height, width)
        ]

        def joined(name: str) -> Array:
            return blend(shape, ((window, moments[name]) for window, moments in found), self._overlap // scale)

        return Moments(joined("mean"), joined("std") if "std" in found[0][1] else None)

    def _windows(self, height: int, width: int) -> list[Window]:
        whole = height * width <= self._tile**2
        tile = max(height, width) if whole else self._tile
        return windows(height, width, tile, self._overlap, self._facts.multiple)


def _run(engine: Engine, component: str, feed: str, array: Array) -> dict[str, Array]:
    """Run an engine on one row without its row axis."""
    xp = namespace(engine.device)
    outputs = engine({feed: xp.ascontiguousarray(to_device(array, engine.device)[None], np.float32)})
    for name, values in outputs.items():
        if not xp.isfinite(values).all():
            raise ModelOutputError(
                f"{component} returned NaN or infinity in {name!r}; try a bundle exported in float32, "
                "or a checkpoint whose VAE is made for float16"
            )
    return {name: values[0] for name, values in outputs.items()}
