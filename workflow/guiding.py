"""The conditionings of a sampling as the runtime's: their weights at every position, in every evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from ..bundles.tensor import Array
from ..engines.arrays import to_device
from ..errors import InputError
from ..runtime.conditioning.conditioning import PERTURBED, SIZES, Conditioning
from ..runtime.conditioning.embeds import size_ids
from ..runtime.imaging.tiles import Window
from ..runtime.model.model import Model
from ..runtime.requests.sections import Micro
from ..runtime.sampling.flow import FlowSchedule
from ..runtime.sampling.levels import ModelSchedule
from ..runtime.sampling.plan import Plan
from .guided_times import percent_sigma
from .image_prompts import ImageRows
from .scaling import scaled_masks
from .values import Conditioned, Entry, Guider, Hint, Side

_FADE = 8
"""Latents over which an area's weight falls at those of its edges that lie inside the picture."""
_LEAST_BOX = 8


@dataclass(frozen=True, eq=False)
class _Placed:
    """An entry with its area in latents, None for everywhere."""

    entry: Entry
    window: Window | None


Steered = tuple[Conditioning, tuple[Hint, ...]]
"""A conditioning, and the ControlNets that count in it."""


def conditionings(guider: Guider, plan: Plan, sides: tuple[int, ...], item: int) -> list[tuple[Steered, ...]]:
    """Those of each evaluation for one item of a batch whose latents are of (height, width).

    Each side's entries count by their weights, divided by their sum (comfy/samplers.py, calc_cond_batch), times the
    side's weight. Raises `InputError` where nothing counts in an evaluation.
    """
    model = guider.diffusion.model
    downscale, device = model.bundle.model.downscale, model.stages.denoiser.engine.device
    sides_that_count = [side for side in _perturbed(guider) if side.weight]
    placed_sides = [
        [_placed(entry, sides, downscale, item) for entry in _with_shared_hints(side, guider.positive)]
        for side in sides_that_count
    ]
    covered = [_covered_by_all(placed_sides, place) for place, _ in enumerate(placed_sides)]
    loras, images = model.low_rank(guider.diffusion.loras), ImageRows(guider.diffusion)
    sizes = cache(partial(_sizes, model, sides))
    made = []
    for sigma in plan.sigmas:
        active = [[each for each in side if _counts(each.entry, model.schedule, sigma)] for side in covered]
        if not all(active):
            raise InputError(f"no conditioning counts at sigma {sigma:.4g}; have one that does from start to end")
        steered = []
        for side, those in zip(sides_that_count, active, strict=True):
            shown = images.at(float(sigma), side.negative)
            for each, placed in zip(_side(those, side.weight, sides, item, device), those, strict=True):
                inputs = {**each.inputs, **sizes(side.negative, placed.entry.sizes), **shown}
                if side.perturbed:
                    inputs[PERTURBED] = to_device(np.ones((), np.float32), device)
                steered.append((replace(each, low_rank=loras, inputs=inputs), placed.entry.hints))
        made.append(tuple(steered))
    return made


def _perturbed(guider: Guider) -> tuple[Side, ...]:
    """The sides, and the prompt's without attention, which it is guided away from (comfy_extras/nodes_pag.py)."""
    scale = guider.diffusion.perturbed
    if not scale:
        return guider.sides
    if guider.diffusion.rescale:
        raise InputError("RescaleCFG and PerturbedAttentionGuidance do not go together; leave one out")
    first, *others = guider.sides
    return replace(first, weight=first.weight + scale), *others, replace(first, weight=-scale, perturbed=True)


def _with_shared_hints(side: Side, positive: Conditioned) -> Conditioned:
    """A side, a negative one with the prompt's ControlNets that are for both, where it has none of its own."""
    if not side.negative:
        return side.entries
    shared = tuple(hint for hint in positive[0].hints if hint.shared)
    return tuple(replace(entry, hints=entry.hints or shared) for entry in side.entries)


def _sizes(model: Model, sides: tuple[int, ...], negative: bool, own: Micro | None) -> dict[str, Array]:
    """The numbers of a picture's size, where the denoiser takes them (Podell et al., arXiv:2307.01952)."""
    facts = model.bundle.model
    if not facts.size_ids:
        return {}
    size = sides[1] * facts.downscale, sides[0] * facts.downscale
    numbers = size_ids(facts.size_ids, (own or Micro()).size_numbers(size, negative))
    return {SIZES: to_device(numbers, model.stages.denoiser.engine.device)}


def _counts(entry: Entry, schedule: ModelSchedule | FlowSchedule, sigma: float) -> bool:
    return percent_sigma(schedule, entry.end) <= sigma <= percent_sigma(schedule, entry.start)


def _placed(entry: Entry, sides: tuple[int, ...], downscale: int, item: int) -> _Placed:
    height, width = sides
    if entry.area is not None:
        if entry.relative:
            high, wide, top, left = (
                round(share * side) for share, side in zip(entry.area, (height, width, height, width), strict=True)
            )
            high, wide = max(high, 1), max(wide, 1)
        else:
            high, wide, top, left = (int(length) // downscale for length in entry.area)
        top, left = min(top, height - 1), min(left, width - 1)
        return _Placed(entry, Window(top, left, min(high, height - top), min(wide, width - left)))
    if entry.mask is not None and entry.mask_bounds:
        return _Placed(entry, _box(_mask(entry, sides, item), sides))
    return _Placed(entry, None)


def _box(mask: Array, sides: tuple[int, ...]) -> Window | None:
    """The box of what a mask shows, at least 8 latents a side; None where it shows nothing."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    starts, lengths = [], []
    for places, side in zip((rows, columns), sides, strict=True):
        length = min(max(int(places[-1] - places[0]) + 1, _LEAST_BOX), side)
        starts.append(min(int(places[0]), side - length))
        lengths.append(length)
    return Window(starts[0], starts[1], lengths[0], lengths[1])


def _mask(entry: Entry, sides: tuple[int, ...], item: int) -> Array:
    assert entry.mask is not None
    return np.asarray(scaled_masks(entry.mask[item % len(entry.mask)][None], sides[1], sides[0])[0])


def _covered_by_all(sides: Sequence[Sequence[_Placed]], place: int) -> list[_Placed]:
    """A side, with an entry for each area that only others have."""
    made = list(sides[place])
    for other in (side for number, side in enumerate(sides) if number != place):
        made = _covered(made, other)
    return made


def _covered(side: Sequence[_Placed], other: Sequence[_Placed]) -> list[_Placed]:
    """A side, with an entry for each area of the other that it has not: the smallest that covers it, cut to it."""
    made = list(side)
    for window in (each.window for each in other):
        if window is None or any(each.window == window for each in made):
            continue
        around = [each for each in side if each.window is None or _holds(each.window, window)]
        if around:
            least = min(around, key=lambda each: each.window.height * each.window.width if each.window else np.inf)
            made.append(replace(least, window=window))
    return made


def _holds(outer: Window, inner: Window) -> bool:
    return (
        outer.top <= inner.top
        and outer.left <= inner.left
        and outer.top + outer.height >= inner.top + inner.height
        and outer.left + outer.width >= inner.left + inner.width
    )


def _side(side: Sequence[_Placed], weight: float, sides: tuple[int, ...], item: int, device: str) -> list[Conditioning]:
    """The conditionings of one side, whose weights sum to `weight` at every position."""
    if all(each.window is None and each.entry.mask is None for each in side):
        total = sum(each.entry.strength for each in side)
        if not total:
            raise InputError("the strengths of the conditionings are all 0; give one another")
        return [Conditioning(weight * each.entry.strength / total, each.entry.inputs) for each in side]
    maps = [_weights(each, sides, item) for each in side]
    total_map = np.sum(maps, axis=0) + 1e-37
    return [
        Conditioning(
            weight, each.entry.inputs, to_device((share / total_map).astype(np.float32), device), window=each.window
        )
        for each, share in zip(side, maps, strict=True)
    ]


def _weights(each: _Placed, sides: tuple[int, ...], item: int) -> Array:
    """How much an entry counts at every position, float64 [height, width] (comfy/samplers.py, get_area_and_mult)."""
    entry, window = each.entry, each.window
    weights = np.full(sides, entry.strength)
    if entry.mask is not None:
        weights = weights * _mask(entry, sides, item) * entry.mask_strength
    if window is None:
        return np.asarray(weights)
    inside = np.ones((window.height, window.width))
    if entry.mask is None:
        inside = _faded(window, sides)
    placed = np.zeros(sides)
    placed[window.slices] = weights[window.slices] * inside
    return placed


def _faded(window: Window, sides: tuple[int, ...]) -> Array:
    """Linear ramps at the edges of a window that lie inside the picture."""
    ramps = []
    for start, length, side in ((window.top, window.height, sides[0]), (window.left, window.width, sides[1])):
        fade = min(_FADE, length // 4)
        ramp = np.ones(length)
        rise = (np.arange(fade) + 1) / max(fade, 1)
        if start and fade:
            ramp[:fade] *= rise
        if start + length < side and fade:
            ramp[-fade:] *= rise[::-1]
        ramps.append(ramp)
    return np.asarray(ramps[0][:, None] * ramps[1])
