"""Pixels to latents and back through the autoencoder, in tiles where a picture is large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...bundles.facts import ModelFacts
from ...bundles.tensor import Array
from ...engines.arrays import device_of, namespace, to_device, to_host
from ...engines.base import Engine
from .. import nonfinite
from ..conditioning.cache import Cache, content, sketch
from ..imaging.limits import MAX_SIDE
from ..imaging.picture import floats_from_model, from_model, to_model
from ..imaging.tiles import Mosaic, fitted
from ..progress import ProgressCallback, no_progress
from ..units import Units, exhaust


@dataclass(frozen=True)
class Moments:
    """The encoder's distribution over latents, float32 [channels, height, width]; `std` is None where it has none."""

    mean: Array
    std: Array | None

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Those that there are."""
        return (self.mean,) if self.std is None else (self.mean, self.std)


class Autoencoder:
    """The two halves of a VAE.

    A picture of more than `tile` x `tile` pixels, or with a side of more than `longest`, goes through in overlapping
    windows of at most that width, three quarters of it high, joined over an eighth of it. Floats are held of one row of
    windows only, so that memory does not grow with the picture's height.
    """

    def __init__(
        self,
        encoder: Engine,
        decoder: Engine,
        facts: ModelFacts,
        tile: int,
        cache_size: int = 8,
        longest: int = MAX_SIDE,
    ) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self._facts = facts
        # Tiles and overlaps are whole numbers of the model's multiple, in pixels and in latents alike.
        self._tile = max(tile // facts.multiple, 4) * facts.multiple
        self._overlap = max(self._tile // 8 // facts.multiple, 1) * facts.multiple
        self._longest = longest
        self._cache: Cache[Moments] = Cache(cache_size)

    def encode(self, pixels: Array, progress: ProgressCallback = no_progress) -> tuple[Moments, bool]:
        """The moments of a picture [height, width, 3] from 0 to 255 on the host, and whether they were cached.

        Those of a picture that goes through in windows are not kept. Raises `ModelOutputError` for NaN or infinity on
        the host; on a device, where one would have to wait for that, it is left to who reads what becomes of them.
        """
        return exhaust(self.encoding(pixels, progress))

    def encoding(self, pixels: Array, progress: ProgressCallback = no_progress) -> Units[tuple[Moments, bool]]:
        """`encode` in units, a window each; a small picture is one with what its caller does next, so that a newcomer
        misses no pass for that."""
        if not self._whole(*pixels.shape[:2]):
            return (yield from self._encoding(pixels, progress)), False
        made = self._cache.get_sketched(
            sketch(pixels), lambda: content(pixels), lambda: exhaust(self._encoding(pixels, progress))
        )
        return made

    def forget_nonfinite(self) -> None:
        """Let go of the pictures' encodings with NaN or infinity; waits for the device."""
        self._cache.forget(lambda moments: not all(map(nonfinite.is_finite, moments.arrays)))

    def latents(self, moments: Moments, noise: Callable[[], Array] | None) -> Array:
        """The denoiser's latents, float32 [channels, height, width]: a draw from the moments, or their mean."""
        shift = np.float32(self._facts.shift_factor)
        if moments.std is None or noise is None:
            draw = moments.mean - shift
        else:
            draw = moments.std * to_device(noise().reshape(moments.mean.shape), device_of(moments.mean))
            draw += moments.mean
            draw -= shift
        draw *= np.float32(self._facts.scaling_factor)
        return draw

    def decode(self, latents: Array, progress: ProgressCallback = no_progress, truncate: bool = False) -> Array:
        """The picture of the denoiser's latents [channels, height, width], uint8 [height, width, 3] on the host.

        `truncate` rounds levels down instead of to nearest. Raises `ModelOutputError` for NaN or infinity.
        """
        return exhaust(self.decoding(latents, progress, truncate))

    def decoding(
        self, latents: Array, progress: ProgressCallback = no_progress, truncate: bool = False, floats: bool = False
    ) -> Units[Array]:
        """`decode` in units, a window each; with `floats` the pixels are float32, neither clipped nor rounded."""
        facts = self._facts
        latents = to_device(latents, self.decoder.device)
        height, width = (length * facts.downscale for length in latents.shape[-2:])
        mosaic = self._mosaic(height, width, 1)
        pixels = np.empty((height, width, 3), np.float32 if floats else np.uint8)
        joining = mosaic.joining()
        next(joining)
        for done, window in enumerate(mosaic.windows, 1):
            part = window.scaled(facts.downscale).cut(latents)
            raw = part / np.float32(facts.scaling_factor) + np.float32(facts.shift_factor)
            rows = joining.send(_run(self.decoder, "latents", raw[None])["pixels"])
            progress("decode", done, len(mosaic))
            if rows is not None:
                check = nonfinite.ahead("vae_decoder", rows[1])
                top, height = rows[0], rows[1].shape[-2]
                part = rows[1][None]
                shown = floats_from_model(part) if floats else from_model(part, truncate)
                pixels[top : top + height] = to_host(shown[0])
                check()
            yield
        return pixels

    def _encoding(self, pixels: Array, progress: ProgressCallback) -> Units[Moments]:
        """The moments of a picture, window by window; those of each one below the other where there are two."""
        facts, scale, device = self._facts, self._facts.downscale, self.encoder.device
        height, width = (length // scale for length in pixels.shape[:2])
        mosaic = self._mosaic(pixels.shape[0], pixels.shape[1], scale)
        xp = namespace(device)
        joined: Array | None = None
        joining = mosaic.joining()
        next(joining)
        for done, window in enumerate(mosaic.windows, 1):
            part = to_device(pixels[window.scaled_up(scale).slices], device)
            found = _run(self.encoder, "pixels", to_model(part))
            nonfinite.check_host("vae_encoder", *found.values())
            rows = joining.send(xp.concatenate([found[name] for name in ("mean", "std") if name in found]))
            progress("encode", done, len(mosaic))
            if rows is not None:
                if joined is None:
                    joined = xp.empty((len(rows[1]), height, width), np.float32)
                joined[:, rows[0] : rows[0] + rows[1].shape[-2]] = rows[1]
            yield
        assert joined is not None
        channels = facts.latent_channels
        return Moments(joined[:channels], joined[channels:] if len(joined) > channels else None)

    def _whole(self, height: int, width: int) -> bool:
        return height * width <= self._tile**2 and max(height, width) <= self._longest

    def _mosaic(self, height: int, width: int, unit: int) -> Mosaic:
        """The windows of a picture of so many pixels, in units of `unit` pixels."""
        overlap, multiple = self._overlap, self._facts.multiple
        sides = height, width
        if not self._whole(height, width):
            # Of one height whatever the picture's: what a window takes is most of the memory.
            sides = self._tile * 3 // 4 // multiple * multiple, fitted(width, self._tile, overlap, multiple)
        high, wide, *rest = (length // unit for length in (*sides, overlap, multiple))
        return Mosaic(height // unit, width // unit, (high, wide), *rest)


def _run(engine: Engine, feed: str, array: Array) -> dict[str, Array]:
    """Run an engine on one row, [1, channels, height, width], and give what it makes without the row axis."""
    given = namespace(engine.device).ascontiguousarray(to_device(array, engine.device), np.float32)
    return {name: values[0] for name, values in engine({feed: given}).items()}
