"""A task becomes a job: the latents it begins with, what steers it, and what is done between its lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ...bundles.facts import ModelFacts
from ...bundles.tensor import Array
from ...engines.arrays import namespace, to_device
from ..conditioning.guidance import guides, shares
from ..conditioning.prompt.tree import Phrase
from ..denoising.blend import Blend
from ..denoising.job import Edit, Job
from ..denoising.state import lincomb
from ..denoising.step_hooks import Drift, Keep, ThroughPixels
from ..imaging.mask import HALF, to_latents
from ..imaging.match import settle
from ..imaging.tiles import Mosaic
from ..progress import Watch, unwatched
from ..requests.request import Change, Request
from ..sampling.brownian import BrownianNoise
from ..sampling.noise import NoiseStream, centred, noise_stream, slerp
from .autoencoder import Moments

if TYPE_CHECKING:
    from ..pipeline import Pipeline, Task


class Tally:
    """Seconds by stage, encodings that were not made again, and all of them, on a device not looked at yet."""

    def __init__(self) -> None:
        self.encodings: list[tuple[str, Array]] = []
        self.timings = dict.fromkeys(("text", "encode", "denoise", "decode"), 0.0)
        self.cached = {"text": 0, "encode": 0}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens within to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings[name] += time.perf_counter() - start


class Assembly:
    """Everything that a job is made of, for one task."""

    def __init__(self, pipeline: Pipeline, task: Task, tally: Tally, watch: Watch = unwatched) -> None:
        self._pipeline = pipeline
        self._task = task
        self._tally = tally
        self._watch = watch
        self._request = task.request
        self._facts = pipeline.bundle.model
        self._device = pipeline.denoiser.engine.device
        height, width = (length // self._facts.downscale for length in task.picture.pixels.shape[:2])
        self._shape = self._facts.latent_channels, height, width

    def job(self) -> Job:
        """The job at its first line.

        Random draws come in diffusers' order: the picture's latents, the first noise, the masked picture's latents. In
        A1111 and ComfyUI the first noise comes first; latents that a request wants drawn have a stream of their own.
        """
        request, plan = self._request, self._task.plan
        told = guides(request, plan, self._encode_text, self._areas())
        noise = self._stream(request.seed)
        draws = noise if request.habit.first_draw == "latents" else self._stream(request.seed)
        clean = self._clean(draws)
        first = to_device(self._first(noise), self._device)
        beside = self._beside(draws)
        again = request.habit.step_noise.seed(request.seed, request.noise_kind)
        if again is not None:
            noise = self._stream(again)
        if delta := request.eta_noise_seed_delta:
            noise = self._stream((request.seed + delta) % 2**64)
        edits = self._edits(clean, first)
        return Job(
            plan,
            lincomb(plan.start, (clean, first)),
            told,
            noise,
            guidance_rescale=request.guidance_rescale,
            beside=beside,
            mosaic=mosaic(request, self._facts, *self._shape[1:]),
            edits=edits,
            motion=BrownianNoise(self._stream, request.seed),
            blend=self._blend(clean),
        )

    def _clean(self, noise: NoiseStream) -> Array:
        """The picture's latents; zeros where a run from noise alone keeps nothing, so that nothing of it can leak."""
        request, change = self._request, self._task.change
        if request.from_noise and not self._keeps and not self._blends:
            return to_device(np.zeros(self._shape, np.float32), self._device)
        clean = self._encode(self._task.picture.on_white, noise)
        if change is None or change.content == "original":
            return clean
        fresh = noise(self._shape) if change.content == "noise" else np.zeros(self._shape, np.float32)
        share = to_device(self._masked(change), self._device)
        mixed: Array = clean * (1 - share) + to_device(fresh, self._device) * share
        return mixed

    def _encode(self, pixels: Array, noise: NoiseStream) -> Array:
        """The latents of pixels, [height, width, 3] from 0 to 255, on the denoiser's device."""
        vae = self._pipeline.vae
        with self._tally.stage("encode"):
            moments, cached = vae.encode(pixels, self._watch)
            self._tally.encodings += _made_by_vae(moments)
            self._tally.cached["encode"] += cached
            drawn = self._request.latents_from == "sample"
            return to_device(vae.latents(moments, (lambda: noise(self._shape)) if drawn else None), self._device)

    def _trip(self, clean: Array) -> Array:
        """Latents through pixels and back to their mean; its seconds are counted with the line's."""
        return self._mean_latents(self._pipeline.vae.decode(clean, truncate=self._request.truncates))

    def _mean_latents(self, pixels: Array) -> Array:
        vae = self._pipeline.vae
        moments, _ = vae.encode(pixels)
        self._tally.encodings += _made_by_vae(moments)
        return to_device(vae.latents(moments, None), self._device)

    def _undrift(self, denoised: Array) -> Array:
        """What takes the drift of its colours out of clean latents, by way of the pixels that they decode to."""
        seen = self._pipeline.vae.decode(denoised)
        moved, still = (self._mean_latents(pixels) for pixels in (settle(seen, self._task.picture.on_white), seen))
        difference: Array = moved - still
        return difference

    def _stream(self, seed: int) -> NoiseStream:
        left, top = (length // self._facts.downscale for length in self._request.origin)
        return noise_stream(self._request.noise_kind, seed, origin=(top, left))

    def _first(self, noise: NoiseStream) -> Array:
        """The noise to begin with, drawn towards another seed's where a variation is asked for; that of another size in
        the middle of it, as A1111's `ImageRNG.first` has it (modules/rng.py)."""
        request, drawn = self._request, noise(self._shape)
        shape = self._shape
        if request.seed_resize_from is not None:
            width, height = (length // self._facts.downscale for length in request.seed_resize_from)
            shape = self._shape[0], height, width
        varied = drawn if shape == self._shape else self._stream(request.seed)(shape)
        if request.variation_seed is not None and request.variation_strength:
            varied = slerp(request.variation_strength, varied, self._stream(request.variation_seed)(shape))
        return varied if shape == self._shape else centred(varied, drawn)

    def _beside(self, noise: NoiseStream) -> Array | None:
        """What an inpainting U-Net sees below the latents: the mask, and the latents of the picture without what it
        hides (Rombach et al., arXiv:2112.10752, section 4.5). Everything is hidden where nothing is masked.

        With another U-Net and a mask the noise of those latents is drawn for nothing, as diffusers does, but not of
        "field" noise, which no peer has and the tiles of one picture share.
        """
        change = self._task.change
        if not self._facts.inpaints:
            drawn = self._request.latents_from == "sample" and self._request.noise_kind != "field"
            if change is not None and drawn:
                noise(self._shape)
            return None
        pixels = self._task.picture.on_white
        hidden, mask = self._hidden(change or Change(np.full(pixels.shape[:2], 255, np.uint8)))
        # 127.5 is what the VAE takes as 0, which has no level of its own.
        shown = pixels * (1 - hidden[..., None]) + np.float32(127.5) * hidden[..., None]
        latents = self._encode(shown, noise)
        joined: Array = namespace(self._device).concatenate([to_device(mask[None], self._device), latents])
        return joined

    def _hidden(self, change: Change) -> tuple[Array, Array]:
        """How much an inpainting U-Net does not see: of pixels and of latents, float32 [height, width]."""
        rule, scale = self._request.habit.masks, self._facts.downscale
        own = rule.concat_mask if change.latent_mask == rule.latent_mask else None
        if own and change.softness:
            return change.levels / np.float32(255), to_latents(change.levels, scale, "diffusers-soft")
        hidden = (change.levels >= HALF).astype(np.float32)
        return hidden, to_latents(change.levels, scale, own or change.latent_mask)

    @property
    def _keeps(self) -> bool:
        """Whether the original is put back after every line: an inpainting U-Net sees what to keep."""
        change = self._task.change
        return change is not None and not self._blends and (change.gradual or not self._facts.inpaints)

    @property
    def _blends(self) -> bool:
        """Whether the original is put back into every prediction."""
        change = self._task.change
        return change is not None and not change.gradual and self._request.habit.masks.predictions

    def _blend(self, clean: Array) -> Blend | None:
        change, plan = self._task.change, self._task.plan
        if change is None or not self._blends:
            return None
        timesteps = plan.sampler in self._request.habit.by_timesteps
        return Blend(plan, clean, self._masked(change), change.softness, change.soft, timesteps)

    def _edits(self, clean: Array, first: Array) -> list[Edit]:
        request, plan, change = self._request, self._task.plan, self._task.change
        edits: list[Edit] = []
        if request.passes and not request.from_noise:
            edits.append(Drift(plan, clean, self._undrift if request.drift_correction else None))
        if request.through_pixels:
            edits.append(ThroughPixels(plan, self._trip))
        if change is not None and self._keeps:
            edits.append(Keep(plan, clean, first, self._masked(change), change.gradual, change.softness))
        return edits

    def _masked(self, change: Change) -> Array:
        """A change in latents, float32 [height, width] in [0, 1]."""
        between = "area" if change.gradual else self._request.habit.masks.soft_mask
        mode = between if change.gradual or change.softness else change.latent_mask
        return to_latents(change.levels, self._facts.downscale, mode)

    def _areas(self) -> list[Array]:
        if not self._task.regions:
            return []
        levels = [to_latents(region.levels, self._facts.downscale, "area") for region in self._task.regions]
        return [to_device(area, self._device) for area in shares(levels)]

    def _encode_text(self, phrase: Phrase) -> Array:
        request = self._request
        with self._tally.stage("text"):
            embeddings, cached = self._pipeline.text.encode(phrase, request.clip_skip, request.emphasis)
            self._tally.encodings.append(("text_encoder", embeddings))
            self._tally.cached["text"] += cached
            return to_device(embeddings, self._device)


def _made_by_vae(moments: Moments) -> list[tuple[str, Array]]:
    return [("vae_encoder", array) for array in (moments.mean, moments.std) if array is not None]


def mosaic(request: Request, facts: ModelFacts, height: int, width: int) -> Mosaic | None:
    """The windows that a request's latents of `height` x `width` are worked on in; None where it has no windows."""
    scale = facts.downscale
    tile = request.window // scale
    if not tile or tile >= max(height, width):
        return None
    overlap = request.window // 4 if request.window_overlap is None else request.window_overlap
    return Mosaic(height, width, tile, overlap // scale, facts.multiple // scale)
