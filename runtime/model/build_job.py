"""A prepared request becomes a job: the latents it begins with, what steers it, and what is done between steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...bundles.facts import ModelFacts
from ...bundles.tensor import Array
from ...engines.arrays import namespace, to_device
from ..conditioning.conditioning import Conditioning
from ..denoising.blend import Blend
from ..denoising.job import Job, JobControl, StepHook
from ..denoising.state import lincomb
from ..denoising.step_hooks import Drift, Keep, ThroughPixels
from ..imaging.mask import HALF, to_latents
from ..imaging.match import settle
from ..imaging.tiles import Mosaic
from ..progress import ProgressCallback, no_progress
from ..requests.places import InpaintMask
from ..requests.request import Request
from ..sampling.brownian import BrownianNoise
from ..sampling.noise import NoiseStream, centred, noise_stream, slerp
from ..units import Units
from .conditionings import ConditioningBuilder
from .planning import PreparedRequest
from .stages import Stages
from .stats import RunStats


class JobBuilder:
    """Everything that the job of one prepared request is made of."""

    def __init__(
        self, stages: Stages, prepared: PreparedRequest, stats: RunStats, progress: ProgressCallback = no_progress
    ) -> None:
        self._stages = stages
        self._prepared = prepared
        self._stats = stats
        self._progress = progress
        self._request = prepared.request
        self._facts = stages.facts
        self._device = stages.denoiser.engine.device
        height, width = (length // self._facts.downscale for length in prepared.picture.pixels.shape[:2])
        self._shape = self._facts.latent_channels, height, width

    def job(self) -> Units[Job]:
        """The job before its first evaluation, in units: an encoding of a phrase, a window of the VAE.

        Random draws come in diffusers' order: the picture's latents, the first noise, the masked picture's latents. In
        A1111 and ComfyUI the first noise comes first; latents that a request wants drawn have a stream of their own.
        """
        request, plan = self._request, self._prepared.plan
        shown = (yield from self._shown()) if self._facts.edits else None
        builder = ConditioningBuilder(self._stages, self._prepared, self._stats, shown)
        conditionings = yield from builder.conditionings()
        noise = self._stream(request.seed)
        draws = noise if request.habit.first_draw == "latents" else self._stream(request.seed)
        clean = yield from self._clean(draws)
        first = to_device(self._first(noise), self._device)
        concat_latents = yield from self._concat_latents(draws)
        again = request.habit.step_noise.seed(request.seed, request.noise_kind)
        if again is not None:
            noise = self._stream(again)
        if delta := request.eta_noise_seed_delta:
            noise = self._stream((request.seed + delta) % 2**64)
        return Job(
            plan,
            lincomb(plan.start, (clean, first)),
            conditionings,
            noise,
            guidance_rescale=request.guidance_rescale,
            threshold=None if request.mimic_scale is None else request.threshold_percentile,
            concat_latents=concat_latents,
            mosaic=mosaic(request, self._facts, *self._shape[1:]),
            step_hooks=self._step_hooks(clean, first),
            motion=BrownianNoise(self._stream, request.seed),
            blend=self._blend(clean),
            controls=self._controls(conditionings),
            caching=request.caching,
            component=self._stages.denoiser_name,
        )

    def _controls(self, conditionings: Sequence[Sequence[Conditioning]]) -> list[JobControl]:
        """The ControlNets that count in some evaluation, with their hints on the denoiser's device."""
        made = []
        rows = [[each.weight for each in those] for those in conditionings]
        for each in self._prepared.controls:
            facts = each.net.bundle.model
            weights = each.control.residual_weights(self._prepared.plan, rows, len(facts.channels), facts.global_pool)
            if any(own is not None for those in weights for own in those):
                inputs = {name: to_device(array, self._device) for name, array in each.inputs.items()}
                made.append(JobControl(each.net.denoiser, inputs, weights))
        return made

    def _clean(self, noise: NoiseStream) -> Units[Array]:
        """The picture's latents; zeros where a run from noise alone keeps nothing, so that nothing of it can leak."""
        request, mask = self._request, self._prepared.inpaint_mask
        if request.from_noise and not self._keeps and not self._blends:
            return to_device(np.zeros(self._shape, np.float32), self._device)
        clean = yield from self._encode(self._prepared.picture.on_white, noise)
        if mask is None or mask.content == "original":
            return clean
        fresh = noise(self._shape) if mask.content == "noise" else np.zeros(self._shape, np.float32)
        share = to_device(self._masked(mask), self._device)
        mixed: Array = clean * (1 - share) + to_device(fresh, self._device) * share
        return mixed

    def _shown(self) -> Units[Array]:
        """The picture as a model is shown it that edits by instruction: the mean of its latents, without the scaling
        (Brooks et al., arXiv:2211.09800, section 3.2)."""
        vae, stats = self._stages.vae, self._stats
        moments, _ = yield from stats.timed("encode", vae.encoding(self._prepared.picture.on_white, self._progress))
        stats.encodings.append(("vae_encoder", moments.mean))
        return to_device(moments.mean, self._device)

    def _encode(self, pixels: Array, noise: NoiseStream) -> Units[Array]:
        """The latents of pixels, [height, width, 3] from 0 to 255, on the denoiser's device."""
        vae, stats = self._stages.vae, self._stats
        moments, cached = yield from stats.timed("encode", vae.encoding(pixels, self._progress))
        with stats.stage("encode"):
            stats.encodings += [("vae_encoder", array) for array in moments.arrays]
            stats.cached["encode"] += cached
            drawn = self._request.latents_from == "sample"
            return to_device(vae.latents(moments, (lambda: noise(self._shape)) if drawn else None), self._device)

    def _trip(self, clean: Array) -> Array:
        """Latents through pixels and back to their mean; its seconds are counted with the step's."""
        return self._mean_latents(self._stages.vae.decode(clean, truncate=self._request.truncates))

    def _mean_latents(self, pixels: Array) -> Array:
        vae = self._stages.vae
        moments, _ = vae.encode(pixels)
        self._stats.encodings += [("vae_encoder", array) for array in moments.arrays]
        return to_device(vae.latents(moments, None), self._device)

    def _undrift(self, denoised: Array) -> Array:
        """What takes the drift of its colours out of clean latents, by way of the pixels that they decode to."""
        seen = self._stages.vae.decode(denoised)
        moved, still = (self._mean_latents(pixels) for pixels in (settle(seen, self._prepared.picture.on_white), seen))
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

    def _concat_latents(self, noise: NoiseStream) -> Units[Array | None]:
        """What an inpainting U-Net sees below the latents: the mask, and the latents of the picture without what it
        hides (Rombach et al., arXiv:2112.10752, section 4.5). Everything is hidden where nothing is masked.

        With another U-Net and a mask the noise of those latents is drawn for nothing, as diffusers does, but not of
        "field" noise, which no peer has and the tiles of one picture share.
        """
        mask = self._prepared.inpaint_mask
        if self._prepared.depth_latents is not None:
            return to_device(self._prepared.depth_latents, self._device)
        if not self._facts.inpaints:
            drawn = self._request.latents_from == "sample" and self._request.noise_kind != "field"
            if mask is not None and drawn:
                noise(self._shape)
            return None
        pixels = self._prepared.picture.on_white
        hidden, hidden_latents = self._hidden(mask or InpaintMask(np.full(pixels.shape[:2], 255, np.uint8)))
        # 127.5 is what the VAE takes as 0, which has no level of its own.
        shown = pixels * (1 - hidden[..., None]) + np.float32(127.5) * hidden[..., None]
        latents = yield from self._encode(shown, noise)
        joined: Array = namespace(self._device).concatenate([to_device(hidden_latents[None], self._device), latents])
        return joined

    def _hidden(self, mask: InpaintMask) -> tuple[Array, Array]:
        """How much an inpainting U-Net does not see: of pixels and of latents, float32 [height, width]."""
        rule, scale = self._request.habit.masks, self._facts.downscale
        own = rule.concat_mask if mask.latent_mask == rule.latent_mask else None
        if own and mask.soft:
            return mask.mask / np.float32(255), to_latents(mask.mask, scale, "diffusers-soft")
        hidden = (mask.mask >= HALF).astype(np.float32)
        return hidden, to_latents(mask.mask, scale, own or mask.latent_mask)

    @property
    def _keeps(self) -> bool:
        """Whether the original is put back after every evaluation: an inpainting U-Net sees what to keep."""
        mask = self._prepared.inpaint_mask
        return mask is not None and not self._blends and (mask.differential or not self._facts.inpaints)

    @property
    def _blends(self) -> bool:
        """Whether the original is put back into every prediction."""
        mask = self._prepared.inpaint_mask
        return mask is not None and not mask.differential and self._request.habit.masks.predictions

    def _blend(self, clean: Array) -> Blend | None:
        mask, plan = self._prepared.inpaint_mask, self._prepared.plan
        if mask is None or not self._blends:
            return None
        timesteps = plan.sampler in self._request.habit.by_timesteps
        return Blend(plan, clean, self._masked(mask), mask.soft, mask.soft_settings, timesteps)

    def _step_hooks(self, clean: Array, first: Array) -> list[StepHook]:
        request, plan, mask = self._request, self._prepared.plan, self._prepared.inpaint_mask
        hooks: list[StepHook] = []
        if request.passes and not request.from_noise:
            hooks.append(Drift(plan, clean, self._undrift if request.drift_correction else None))
        if request.through_pixels:
            hooks.append(ThroughPixels(plan, self._trip))
        if mask is not None and self._keeps:
            hooks.append(Keep(plan, clean, first, self._masked(mask), mask.differential, mask.soft))
        return hooks

    def _masked(self, mask: InpaintMask) -> Array:
        """A mask in latents, float32 [height, width] in [0, 1]."""
        between = "area" if mask.differential else self._request.habit.masks.soft_mask
        mode = between if mask.differential or mask.soft else mask.latent_mask
        return to_latents(mask.mask, self._facts.downscale, mode)


def mosaic(request: Request, facts: ModelFacts, height: int, width: int) -> Mosaic | None:
    """The windows that a request's latents of `height` x `width` are worked on in; None where it has no windows."""
    scale = facts.downscale
    tile = request.window // scale
    if not tile or tile >= max(height, width):
        return None
    overlap = request.window // 4 if request.window_overlap is None else request.window_overlap
    return Mosaic(height, width, tile, overlap // scale, facts.multiple // scale)
