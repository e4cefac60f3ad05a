"""Denoising strength: how many steps run, at which noise level they begin, and what they begin with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ...errors import InputError, counted, unknown
from .levels import Level
from .path import Path

Walk = Callable[[int], Path]
"""Gives the whole path of a number of steps."""


def enter(convention: str, walk: Walk, steps: int, strength: float) -> Path:
    """The path of `steps` steps, entered where `convention` has `strength` begin: past its end where nothing runs.

    Raises `InputError` for a convention that does not exist, and where a strength above 0 is too small for one step.
    """
    if convention not in CONVENTIONS:
        raise unknown("strength convention", convention, CONVENTIONS)
    return CONVENTIONS[convention](walk, steps, strength)


def contract(walk: Walk, steps: int, strength: float) -> Path:
    """The last int(steps * strength) steps, as diffusers counts; strength 0 runs nothing, 1 is text-to-image."""
    count = int(steps * strength)
    if strength > 0 and count == 0:
        enough = next((n for n in range(steps, 1001) if int(n * strength)), None)
        mend = f"ask for at least {enough} steps, or for" if enough else "ask for"
        raise InputError(
            f"strength {strength:g} of {counted(steps, 'step')} is less than one step; "
            f"{mend} the convention 'continuous'"
        )
    return replace(walk(steps), begin=steps - count)


def diffusers(walk: Walk, steps: int, strength: float) -> Path:
    """StableDiffusionImg2ImgPipeline.get_timesteps, with the flaws of its multistep samplers on the way.

    At strength 1 the input leaks into the noise of img2img, not of inpainting; `contract` has no such leak. Pipelines
    of flow matching (StableDiffusion3Img2ImgPipeline, FluxImg2ImgPipeline) round the steps up, and nothing leaks.
    """
    path = walk(steps)
    if path.flows:
        begin = int(steps - steps * strength)
        return replace(path, begin=min(begin, steps - 1) if strength else steps, like="diffusers")
    return replace(contract(walk, steps, strength), like="diffusers")


def continuous(walk: Walk, steps: int, strength: float) -> Path:
    """Begins at exactly the noise level of timestep strength * (last timestep), whatever the number of steps.

    The whole schedule is a curve of the angle arctan(sigma) over 0 ... steps, the end being at `steps`. The part of it
    below the strength's level is cut into max(1, ceil(steps * strength)) even parts. At strength 1 it is the schedule.
    """
    path = walk(steps)
    if strength in (0.0, 1.0):
        return replace(path, begin=0 if strength else steps)
    if path.end == path.levels[-1]:  # a last step of no length would make several of them here
        path = replace(path, levels=path.levels[:-1])
    whole = len(path.levels)
    model = path.model
    top = math.atan(model.ratio_at(strength))
    angles = np.array([math.atan2(level.sigma, level.alpha) for level in (*path.levels, path.end)])
    begin = np.interp(-top, -angles, np.arange(whole + 1))
    count = max(1, math.ceil(steps * strength))
    cut = np.interp(np.linspace(begin, whole, count + 1)[:-1], np.arange(whole + 1), angles)
    cut[0] = top
    levels = tuple(model.level_of_ratio(math.tan(angle)) for angle in cut)
    return replace(path, levels=levels, gap=None)


def a1111(walk: Walk, steps: int, strength: float) -> Path:
    """Stable Diffusion web UI's setup_img2img_steps: the last t_enc + 1 steps for t_enc = int(steps * strength).

    So one step more than the strength says, and one even at strength 0.
    """
    count = int(min(strength, 0.999) * steps) + 1
    return replace(walk(steps), begin=steps - count, like="a1111")


def comfy(walk: Walk, steps: int, strength: float) -> Path:
    """ComfyUI's KSampler.set_steps: always `steps` steps, the last ones of a schedule of int(steps / strength).

    Raises `InputError` where the model has no schedule of so many steps.
    """
    if strength == 0.0:
        return replace(walk(steps), begin=steps)
    whole = int(min(steps / strength, 1e9)) if strength <= 0.9999 else steps
    try:
        path = walk(whole)
        return replace(path, begin=max(len(path.levels) - steps, 0) if strength <= 0.9999 else 0, like="comfy")
    except InputError as exc:
        most = _longest(walk, steps, whole)
        least, fewer = math.ceil(steps * 1000 / most) / 1000, math.ceil((most + 1) * strength) - 1
        raise InputError(
            f"strength {strength:g} of {counted(steps, 'step')} is by the convention 'comfy' the end of a schedule of "
            f"more than the {most} steps that can be; ask for a strength of at least {least:g}"
            + (f", or for at most {counted(fewer, 'step')}" if fewer else "")
        ) from exc


def _longest(walk: Walk, fits: int, fails: int) -> int:
    """The most steps that make a schedule, between a number that does and one that does not."""
    walk(fits)
    while fails - fits > 1:
        middle = (fits + fails) // 2
        try:
            walk(middle)
            fits = middle
        except InputError:
            fails = middle
    return fits


FROM_NOISE = ("contract", "continuous")
"""The conventions in which strength 1 starts from noise alone and never looks at the input."""


def from_noise(convention: str, strength: float, inpaints: bool) -> bool:
    """Whether a run starts from noise alone; in diffusers inpainting does at strength 1 (its `is_strength_max`)."""
    return strength == 1.0 and (convention in FROM_NOISE or (convention == "diffusers" and inpaints))


CONVENTIONS: dict[str, Callable[[Walk, int, float], Path]] = {
    "contract": contract,
    "continuous": continuous,
    "diffusers": diffusers,
    "a1111": a1111,
    "comfy": comfy,
}


def start(
    convention: str, path: Path, first: Level, strength: float, leading: bool, inpaints: bool = False
) -> tuple[float, float]:
    """Weights of (clean latents, unit noise) that make the x of the first evaluation, which happens at `first`.

    `leading`: is the schedule spaced so? diffusers then adds the image's variance to that of pure noise. `inpaints`: is
    it under a mask?
    """
    if from_noise(convention, strength, inpaints):
        return 0.0, path.model.pure_noise(first, path.ve, leading)
    scale, noise = mixed(path, path.start or first)
    sigma, top = path.model.sigma_of(first), float(path.model.sigmas[-1])
    if convention == "comfy" and (sigma > top or math.isclose(sigma, top, rel_tol=1e-5)):
        return scale, path.model.pure_noise(first, path.ve, image=True)
    return scale, noise


def mixed(path: Path, level: Level) -> tuple[float, float]:
    """Weights of (clean latents, unit noise) that make the sampler's x at `level`."""
    return path.model.weights(level, path.ve)
