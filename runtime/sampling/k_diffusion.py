"""Samplers of k-diffusion and A1111 that lay out their own steps over a schedule; x = clean + ve * noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from .linear import NOISE, Line, X, array
from .path import Path
from .schedules import karras_ramp
from .single_step import HALF, SAVED

EPS, FIRST = array("eps"), array("first")


def dpm_fast(path: Path, eta: float) -> Iterator[Line]:
    """Lu et al., "DPM-Solver" (arXiv:2206.00927), DPM-Solver-fast (section 3.4): k-diffusion's sample_dpm_fast.

    As many evaluations as the schedule has levels, spent on even steps in log sigma from its first level to its end,
    of order 3, the last ones lower. It cannot end at 0: a path that does ends at its last level, as those of A1111 and
    ComfyUI do; there a single evaluation leads nowhere, here to the path's end.
    """
    count = len(path.levels) - path.begin
    last = path.levels[-1].ve if (path.k_diffusion and count > 1) or not path.end.ve else path.end.ve
    orders = [3] * (count // 3 - 1) + [2, 1] if count % 3 == 0 else [3] * (count // 3) + [count % 3]
    sigmas = np.geomspace(path.levels[path.begin].ve, last, len(orders) + 1)
    evaluation = 0
    for order, (high, low) in zip(orders, pairwise(sigmas.tolist()), strict=True):
        down, _, up = path.model.ancestral(high, low, eta)
        down = max(down, last)
        up = math.sqrt(max(low**2 - down**2, 0.0))
        yield from _exact(path, evaluation, order, high, down, up)
        evaluation += order


def _exact(path: Path, step: int, order: int, high: float, low: float, up: float) -> Iterator[Line]:
    """One step of DPM-Solver of `order` 1 (its equation 3.7), 2 (Algorithm 1) or 3 (Algorithm 2)."""
    h = math.log(high / low)
    here, *between = [path.at(high * math.exp(-h * part / order)) for part in range(order)]
    _, eps = path.predict(here)
    if order == 1:
        yield Line(step, here, {"x": X + (low - high) * eps + up * NOISE})
        return
    yield Line(step, here, {"x": X + (between[0].ve - high) * eps, "saved": X, "eps": eps})
    _, slope = path.predict(between[0])
    if order == 2:
        yield Line(step + 1, between[0], {"x": SAVED + (low - high) * slope + up * NOISE})
        return
    second = between[1].ve
    bend = 2 * ((high - second) / (2 / 3 * h) - second) * (slope - EPS)
    yield Line(step + 1, between[0], {"x": SAVED + (second - high) * EPS - bend, "saved": SAVED, "eps": EPS})
    _, slope = path.predict(between[1])
    bend = 3 / 2 * ((high - low) / h - low) * (slope - EPS)
    yield Line(step + 2, between[1], {"x": SAVED + (low - high) * EPS - bend + up * NOISE})


def restart(path: Path) -> Iterator[Line]:
    """Xu et al., "Restart Sampling" (arXiv:2306.14878): Heun's steps, some taken again from where noise was added.

    As A1111 lays them out: from 20 steps on, those of its own Karras schedule over the range of the path's, and at
    sigma 0.1 once (from 36 steps on twice) back to sigma 2.
    """
    steps = _restart_steps([level.ve for level in path.levels[path.begin :]], path.end.ve)
    for step, (high, low) in enumerate(steps):
        here, there = path.at(high), path.at(low)
        again = steps[step + 1][0] if step + 1 < len(steps) else low
        noise = math.sqrt(max(again**2 - low**2, 0.0)) * NOISE
        _, eps = path.predict(here)
        rise = (low - high) * eps
        if not low:
            yield Line(step, here, {"x": X + rise + noise})
            continue
        yield Line(step, here, {"x": X + rise, "half": X + 0.5 * rise})
        _, eps = path.predict(there)
        yield Line(step, there, {"x": HALF + 0.5 * (low - high) * eps + noise})


def _restart_steps(levels: list[float], end: float) -> list[tuple[float, float]]:
    """(From, to) sigmas of every step."""
    count = len(levels)
    times, length = (0, 0) if count < 20 else (1, 9) if count < 36 else (2, count // 4)
    if times:
        levels, end = karras_ramp(count - length * times, levels[0], levels[-1]).tolist(), 0.0
    sigmas = np.array([*levels, end])
    bottom, top = (int(np.abs(sigmas - sigma).argmin()) for sigma in (0.1, 2.0))
    steps = list(pairwise(sigmas.tolist()))
    if top >= bottom:
        return steps
    again = list(pairwise(karras_ramp(length + 1, sigmas[top], sigmas[bottom]).tolist()))
    return steps[:bottom] + again * times + steps[bottom:]
