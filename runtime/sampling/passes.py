"""Several passes as one table: each begins with noise on what the one before has made, and no pixels lie between."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError, unknown
from .plan import Plan

MAX_PASSES = 32
# How far a loopback is on its way from the first strength to the last, as the "Loopback" script of A1111 has it.
CURVES: Mapping[str, Callable[[float], float]] = {
    "linear": lambda progress: progress,
    "aggressive": lambda progress: math.sin(progress * math.pi / 2),
    "lazy": lambda progress: 1 - math.cos(progress * math.pi / 2),
}


def loopback(count: int, first: float, last: float, curve: str = "linear") -> tuple[float, ...]:
    """The strengths of `count` passes on their way from `first` to `last`; of one pass, `first`.

    Raises `InputError` for a count beyond 1 to `MAX_PASSES` and an unknown curve; a pass's strength is checked by the
    request that takes it.
    """
    if curve not in CURVES:
        raise unknown("strength curve", curve, CURVES)
    if not 1 <= count <= MAX_PASSES:
        raise InputError(f"{count} passes are asked for; give 1 to {MAX_PASSES}")
    walk = CURVES[curve]
    return tuple(first + (last - first) * walk(index / max(count - 1, 1)) for index in range(count))


def join(plans: Sequence[Plan]) -> Plan:
    """The plans of one sampler one after another, none of them empty.

    The last line of a pass goes on to the start of the next: x becomes start[0] * x + start[1] * noise, and the history
    is dropped. It draws that noise afresh.
    """
    if len(plans) == 1:
        return plans[0]
    slots = max(plan.slots for plan in plans)
    blocks = [_widened(plan.matrix, slots) for plan in plans]
    noised = [plan.noised.copy() for plan in plans]
    increments = [plan.increment.copy() for plan in plans]
    for block, weights, after in zip(blocks, noised, plans[1:], strict=False):
        clean, noise = after.start
        block[-1, 1:] = 0.0
        block[-1, 0] *= clean
        block[-1, 0, -1] = np.hypot(block[-1, 0, -1], noise)
        weights[-1] = after.start
    for increment in increments[:-1]:
        increment[-1] = 0.0

    def joined(name: str) -> Array:
        return np.concatenate([getattr(plan, name) for plan in plans])

    return replace(
        max(plans, key=lambda plan: plan.slots),
        matrix=np.concatenate(blocks),
        noised=np.concatenate(noised),
        start=plans[0].start,
        step=np.concatenate([plan.step + offset for plan, offset in zip(plans, _offsets(plans), strict=True)]),
        pass_index=np.repeat(np.arange(len(plans)), [len(plan) for plan in plans]),
        sigmas=joined("sigmas"),
        timesteps=joined("timesteps"),
        scale_in=joined("scale_in"),
        denoised=joined("denoised"),
        increment=np.concatenate(increments),
        span=joined("span"),
        recipe=None,
    )


def _widened(matrix: Array, slots: int) -> Array:
    """A plan's matrix with room for more slots, which stay zero."""
    own = matrix.shape[1]
    wide = np.zeros((len(matrix), slots, slots + 2))
    wide[:, :own, :own] = matrix[:, :, :own]
    wide[:, :own, slots:] = matrix[:, :, own:]
    return wide


def _offsets(plans: Sequence[Plan]) -> Array:
    return np.cumsum([0, *(plan.steps for plan in plans[:-1])])
