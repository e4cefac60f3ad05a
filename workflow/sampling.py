"""What sampler nodes do: a plan of sigmas, a job for each item of the batch, and all of them side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..bundles.facts import ModelFacts
from ..bundles.tensor import Array
from ..engines.arrays import to_device, to_host
from ..errors import InputError
from ..runtime.conventions.convention import COMFY
from ..runtime.denoising.job import Job
from ..runtime.denoising.noise_mask import NoiseMask
from ..runtime.denoising.state import lincomb
from ..runtime.model.model import Model
from ..runtime.sampling.brownian import BrownianNoise
from ..runtime.sampling.compile import compile_plan
from ..runtime.sampling.noise import NoiseStream, noise_stream
from ..runtime.sampling.plan import Plan
from .context import Context
from .guiding import conditionings
from .hints import controls
from .scaling import scaled_masks
from .sigmas import model_schedule
from .values import Guider, Latents, Noise, SamplerChoice

_BLANK = np.array([0.8223, -0.6876, 0.6364, 0.1380], np.float32)
"""What an inpainting model of Stable Diffusion 1 sees where nothing is shown to it (ComfyUI's latents of grey)."""


def sample(
    context: Context, guider: Guider, noise: Noise, sampler: SamplerChoice, sigmas: Array, latents: Latents
) -> tuple[Latents, Latents]:
    """Latents on their way along sigmas, float64 [n], and the last denoised ones.

    Without sigmas they are as they were. Raises `InputError` for what the model or the sampler cannot do.
    """
    model = guider.diffusion.model
    latents = fitted(latents, model.bundle.model)
    if len(sigmas) < 2:
        return latents, latents
    shape = latents.samples.shape
    schedule = model_schedule(model, shape)
    plan = compile_plan(
        schedule,
        sampler=sampler.name,
        sigmas=list(sigmas),
        convention="comfy",
        eta=sampler.eta,
        latent_shape=shape[-2:],
    )
    first = first_noise(noise, latents)
    masks = _masks(latents, shape)
    end = float(sigmas[-1])
    jobs = [_job(guider, plan, noise, latents, first, masks, item, sampler, end) for item in range(shape[0])]
    made = context.denoise(model, jobs)
    samples, denoised = (np.stack([to_host(pair[place]) for pair in made]) for place in (0, 1))
    done = replace(latents, samples=samples.astype(np.float32))
    return done, replace(done, samples=denoised.astype(np.float32))


def fitted(latents: Latents, facts: ModelFacts) -> Latents:
    """Blank latents as the model has them; raises `InputError` for others that it does not take."""
    count, channels, height, width = latents.samples.shape
    if latents.blank:
        sides = (side * latents.unit // facts.downscale for side in (height, width))
        samples = np.zeros((count, facts.latent_channels, *sides), np.float32)
        return replace(latents, samples=samples, unit=facts.downscale, blank=False)
    if channels != facts.latent_channels:
        raise InputError(
            f"the latents have {channels} channels, the model {facts.name!r} has {facts.latent_channels}; encode the "
            "picture with a VAE of its family"
        )
    return replace(latents, unit=facts.downscale)


def first_noise(noise: Noise, latents: Latents) -> Array:
    """Unit noise for a batch: one draw of torch's CPU generator, or with `batch_index` one for each place
    (comfy/sample.py, prepare_noise)."""
    shape = latents.samples.shape
    if not noise.adds:
        return np.zeros(shape, np.float32)
    stream = noise_stream("cpu", noise.seed)
    if latents.batch_index is None:
        return stream(shape)
    drawn = [stream((1, *shape[1:]))[0] for _ in range(max(latents.batch_index) + 1)]
    return np.stack([drawn[place] for place in latents.batch_index])


class _Item:
    """One item's part of draws that are made for a whole batch."""

    def __init__(self, stream: NoiseStream, count: int, item: int) -> None:
        self._stream, self._count, self._item = stream, count, item

    def __call__(self, shape: tuple[int, ...], origin: tuple[int, int] = (0, 0)) -> Array:
        return np.asarray(self._stream((self._count, *shape))[self._item])


def _masks(latents: Latents, shape: tuple[int, ...]) -> Array | None:
    """The latents' masks, float32 [n, height, width] of the latents."""
    if latents.mask is None:
        return None
    masks = scaled_masks(latents.mask, shape[-1], shape[-2])
    return np.asarray(masks[np.arange(shape[0]) % len(masks)])


def _job(
    guider: Guider,
    plan: Plan,
    noise: Noise,
    latents: Latents,
    first: Array,
    masks: Array | None,
    item: int,
    sampler: SamplerChoice,
    end: float,
) -> Job:
    model, count = guider.diffusion.model, len(first)
    device = model.stages.denoiser.engine.device
    clean, drawn = (to_device(np.ascontiguousarray(each[item]), device) for each in (latents.samples, first))
    steps = COMFY.step_noise.seed(noise.seed, "cpu") or noise.seed
    mask = None
    if masks is not None:
        again = drawn
        if sampler.name == "ddim" and noise.adds:
            again = to_device(first_noise(Noise((noise.seed + 1) % 2**64), latents)[item], device)
        thresholds = _thresholds(guider, plan, masks[item], end)
        mask = NoiseMask(plan, clean, again, thresholds, _levels(model, plan, clean.shape))
    sides = latents.samples.shape[-2:]
    steered = conditionings(guider, plan, sides, item)
    return model.start_job(
        lincomb(plan.start, (clean, drawn)),
        [tuple(conditioning for conditioning, _ in those) for those in steered],
        plan,
        _Item(noise_stream("cpu", steps), count, item),
        add_noise=False,
        guidance_rescale=guider.diffusion.rescale,
        motion=BrownianNoise(lambda seed: _Item(noise_stream("cpu", seed), count, item), noise.seed),
        blend=mask,
        controls=controls(model, plan, steered, sides, item),
        concat_latents=_concat(guider, clean, None if masks is None else masks[item], item),
    )


def _levels(model: Model, plan: Plan, shape: tuple[int, ...]) -> Array:
    """[evaluations, 2] The weights of (clean latents, unit noise) in x before each evaluation."""
    schedule = model_schedule(model, shape)
    weights = []
    for sigma, timestep, scale in zip(plan.sigmas, plan.timesteps, plan.scale_in, strict=True):
        level = schedule.level_of(float(sigma), float(timestep))
        weights.append(schedule.weights(level, ve=bool(scale != 1.0)))
    return np.array(weights)


def _thresholds(guider: Guider, plan: Plan, mask: Array, end: float) -> Sequence[Array]:
    """The mask of every evaluation: itself, or with differential diffusion (Levin and Fried, arXiv:2306.00950) whether
    it is above the share of the run's time that is left (comfy_extras/nodes_differential_diffusion.py)."""
    strength = guider.diffusion.differential
    if strength is None:
        return [mask] * len(plan)
    schedule = guider.diffusion.model.schedule
    times = schedule.time_of(plan.sigmas, whole=True)
    lowest = max(float(end), float(schedule.sigmas[0]))
    last = float(schedule.time_of(lowest, whole=True))
    spread = float(times[0]) - last
    made = []
    for time in times:
        share = (float(time) - last) / spread if spread else 0.0
        binary = (mask >= np.float32(share)).astype(np.float32)
        made.append(binary * np.float32(strength) + mask * np.float32(1 - strength))
    return made


def _concat(guider: Guider, clean: Array, mask: Array | None, item: int) -> Array | None:
    """What an inpainting model sees below the latents: the mask, and the latents of what is shown."""
    facts = guider.diffusion.model.bundle.model
    held = next((entry.concat for entry in guider.positive if entry.concat is not None), None)
    if not facts.inpaints:
        return None
    device = guider.diffusion.model.stages.denoiser.engine.device
    if held is not None:
        return to_device(np.ascontiguousarray(held[item % len(held)]), device)
    height, width = clean.shape[-2:]
    if mask is not None:
        hidden = np.rint(mask)[None]
        return to_device(np.concatenate([hidden, to_host(clean)]).astype(np.float32), device)
    if facts.latent_channels != len(_BLANK):
        raise InputError("this inpainting model needs a mask; connect InpaintModelConditioning")
    blank = np.broadcast_to(_BLANK[:, None, None], (len(_BLANK), height, width))
    return to_device(np.concatenate([np.ones((1, height, width), np.float32), blank]), device)
