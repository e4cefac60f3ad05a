"""DPM-Solver and DEIS on predicted noise, and DPM-Solver++ in single steps; x is variance-preserving."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from .levels import Level
from .linear import Line, X, array, total
from .multi_step import allowed_order
from .path import Path

OLD, OLDER = array("old"), array("older")
SAVED, FIRST = array("saved"), array("first")


def deis(path: Path, order: int) -> Iterator[Line]:
    """Zhang and Chen, "DEIS" (arXiv:2204.13902), tAB-DEIS in log rho: diffusers' DEISMultistepScheduler.

    x / alpha moves by the integral over sigma / alpha of the noise, a polynomial in the logarithm of sigma / alpha
    through the predictions of the last steps.
    """
    past: list[Level] = []
    for step, here, there in path:
        _, eps = path.predict(here)
        levels = [here, *past][: min(order, allowed_order(path, step, there))]
        x = X / here.alpha + total(_log_rho(levels, there), [eps, OLD, OLDER])
        yield Line(step, here, {"x": there.alpha * x, "old": eps} | ({"older": OLD} if past else {}))
        past = [here, *past[:1]]


def _log_rho(levels: Sequence[Level], there: Level) -> list[float]:
    """Weights of the noise at `levels`, newest first, in the step from the newest to `there`."""
    here = levels[0]
    if len(levels) == 1:
        return [there.ve - here.ve]
    end = here.log_snr - there.log_snr
    moments = [math.expm1(end)]  # integrals of v^k e^v from 0 to `end`
    for k in range(1, len(levels)):
        moments.append(end**k * math.exp(end) - k * moments[-1])
    powers = np.vander([here.log_snr - level.log_snr for level in levels], increasing=True).T
    return [float(here.ve * weight) for weight in np.linalg.solve(powers, moments)]


def dpmsolver(path: Path, order: int) -> Iterator[Line]:
    """Lu et al., "DPM-Solver" (arXiv:2206.00927), as multistep: diffusers' algorithm_type "dpmsolver", "midpoint"."""
    past: list[Level] = []
    for step, here, there in path:
        _, eps = path.predict(here)
        levels = [here, *past][: min(order, allowed_order(path, step, there))]
        h = there.log_snr - here.log_snr
        gaps = [(newer.log_snr - older.log_snr) / h for newer, older in pairwise(levels)]
        pull = there.alpha * here.ve - there.sigma  # sigma * (e^h - 1), also where h is infinite
        x = there.alpha / here.alpha * X - pull * eps
        if len(gaps) == 1:
            x = x - pull / (2 * gaps[0]) * (eps - OLD)
        elif len(gaps) == 2:
            slope = (eps - OLD) / gaps[0]
            bend = (slope - (OLD - OLDER) / gaps[1]) / sum(gaps)
            rest = pull / h - there.sigma
            x = x - rest * (slope + gaps[0] * bend) - (rest / h - there.sigma / 2) * bend
        yield Line(step, here, {"x": x, "old": eps} | ({"older": OLD} if past else {}))
        past = [here, *past[:1]]


def dpmpp_singlestep(path: Path, order: int) -> Iterator[Line]:
    """DPM-Solver++ (arXiv:2211.01095) in single steps over `order` levels: diffusers' DPMSolverSinglestepScheduler.

    Its "midpoint". At the first level of a step x is kept, and each level after it takes the whole way from there anew.
    """
    return _singlestep(path, order, noise=False)


def dpmsolver_singlestep(path: Path, order: int) -> Iterator[Line]:
    """As `dpmpp_singlestep`, on predicted noise: DPM-Solver (arXiv:2206.00927), Algorithms 1 and 2."""
    return _singlestep(path, order, noise=True)


def _singlestep(path: Path, order: int, noise: bool) -> Iterator[Line]:
    orders = [1 + index % order for index in range(len(path.levels))]
    if not path.end.sigma:
        orders[-1] = 1
    first, reach = path.levels[path.begin], 0
    for step, here, there in path:
        output = path.predict(here)[noise]
        reach = min(orders[path.begin + step], reach + 1)
        if reach == 1:
            first = here
        x, begun = (X, output) if reach == 1 else (SAVED, FIRST)
        pull = there.alpha * first.ve - there.sigma if noise else there.alpha - there.sigma / first.ve
        scale, whole = (-1.0, there.sigma) if noise else (1.0, there.alpha)
        new = (there.alpha / first.alpha if noise else there.sigma / first.sigma) * x + scale * pull * begun
        if reach > 1:
            h = there.log_snr - first.log_snr
            slope = (output - begun) / ((here.log_snr - first.log_snr) / h)
            new = new + scale * (pull / 2 if reach == 2 else abs(whole - pull / h)) * slope
        yield Line(step, here, {"x": new, "saved": x, "first": begun})
