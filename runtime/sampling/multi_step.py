"""Samplers that remember the predictions of the steps before."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .levels import Level
from .linear import FRESH, NOISE, Line, Sum, X, array, total
from .path import Path

OLD, OLDER, OLDEST = array("old"), array("older"), array("oldest")


def lms(path: Path) -> Iterator[Line]:
    """Linear multistep: Adams-Bashforth on uneven steps, order 4, as k-diffusion's sample_lms; x = clean + ve * noise.

    The order grows from 1 as slopes become known. diffusers takes the weights of the order that the *schedule's* step
    allows, and when a run enters part way leaves out the slopes it does not have. It has no LMS of flow matching.
    """
    for step, here, there in path:
        _, eps = path.predict(here)
        index = path.begin + step
        order = min(4, 1 + (index if path.like == "diffusers" and not path.flows else step))
        nodes = [path.levels[index - k].ve for k in range(order)]
        slopes = [eps, OLD, OLDER, OLDEST][: step + 1]
        if path.habit.lms_ends_denoised and not there.ve:
            x = X - here.ve * eps
        else:
            x = X + total(adams_bashforth(nodes, there.ve), slopes)
        yield Line(step, here, {"x": x} | dict(zip(("old", "older", "oldest"), slopes, strict=False)))


def adams_bashforth(nodes: list[float], end: float) -> list[float]:
    """Weights of slopes at up to 4 `nodes`, newest first, that integrate their polynomial from the newest to `end`."""
    half = (end - nodes[0]) / 2
    points, weights = np.polynomial.legendre.leggauss(2)  # exact to degree 3
    places = nodes[0] + half * (1 + points)

    def weight(j: int) -> float:
        others = [node for k, node in enumerate(nodes) if k != j]
        basis = np.prod([(places - node) / (nodes[j] - node) for node in others], axis=0)
        return float(half * np.sum(weights * basis))

    return [weight(j) for j in range(len(nodes))]


def dpmpp_2m(path: Path) -> Iterator[Line]:
    """Lu et al., "DPM-Solver++" (arXiv:2211.01095), Algorithm 2."""
    return dpmpp_2m_sde(path, eta=0.0)


def dpmpp_2m_sde(path: Path, eta: float) -> Iterator[Line]:
    """The SDE of DPM-Solver++(2M), section 6 of the paper; `eta` scales its noise as in k-diffusion."""
    return _dpmpp_2m(path, eta, heun=False)


def dpmpp_2m_sde_heun(path: Path, eta: float) -> Iterator[Line]:
    """`dpmpp_2m_sde` with the slope weighed by phi2 rather than at the midpoint: solver_type "heun"."""
    return _dpmpp_2m(path, eta, heun=True)


def _dpmpp_2m(path: Path, eta: float, heun: bool) -> Iterator[Line]:
    before = None
    for step, here, there in path:
        x0, _ = path.predict(here)
        x, pull = exponential_step(here, there, eta)
        if before is not None and allowed_order(path, step, there) > 1:
            h = there.log_snr - here.log_snr
            r = (here.log_snr - before.log_snr) / h
            if heun:
                x = x + pull * x0 + there.alpha * _phi2((1 + eta) * h) / r * (x0 - OLD)
            else:
                x = x + pull * (x0 + (x0 - OLD) / (2 * r))
        else:
            x = x + pull * x0
        yield Line(step, here, {"x": x, "old": x0}, _increment(path, here, there))
        before = here


def dpmpp_3m(path: Path) -> Iterator[Line]:
    """DPM-Solver++(3M), which has no algorithm of its own in the paper: `dpmpp_3m_sde` without noise."""
    return dpmpp_3m_sde(path, eta=0.0)


def dpmpp_3m_sde(path: Path, eta: float) -> Iterator[Line]:
    """DPM-Solver++(3M) SDE: k-diffusion's sample_dpmpp_3m_sde, of lower order at the end as diffusers' schedulers.

    diffusers' own third-order SDE update has the 1/2 of phi3 with the wrong sign, unlike its third-order ODE. The order
    is lower too where the step is so much longer than the last that it would multiply the predictions' errors (the
    lowest sigmas of "normal" and "beta"), unless the habits of another program are kept.
    """
    past: list[Level] = []
    for step, here, there in path:
        x0, _ = path.predict(here)
        order = min(allowed_order(path, step, there), len(past) + 1)
        weights = _extrapolation(there, [here, *past[:2]][:order], eta)
        while path.like is None and order > 1 and _far(there, here, past[0]) and sum(map(abs, weights)) > STEADY:
            order -= 1
            weights = _extrapolation(there, [here, *past[:2]][:order], eta)
        x, _ = exponential_step(here, there, eta)
        x = x + total(weights, [x0, OLD, OLDER])
        slots = {"x": x, "old": x0} | ({"older": OLD} if past else {})
        yield Line(step, here, slots, _increment(path, here, there))
        past.insert(0, here)


def _increment(path: Path, here: Level, there: Level) -> tuple[float, float]:
    """Where k-diffusion takes the noise of a step from, a Brownian motion; diffusers draws it."""
    return (path.model.sigma_of(here), path.model.sigma_of(there)) if path.k_diffusion else FRESH


STEADY = 3.7
"""What the weights of a long step's predictions may sum to, in magnitude; on the trained spacings it is below this."""


def _far(there: Level, here: Level, before: Level) -> bool:
    """Is the step more than a quarter longer than the last?"""
    return there.log_snr - here.log_snr > 1.25 * (here.log_snr - before.log_snr)


def _extrapolation(there: Level, levels: list[Level], eta: float) -> list[float]:
    """Weights of the predictions at up to three `levels`, newest first, in a step of as high an order to `there`."""
    now, *past = levels
    _, pull = exponential_step(now, there, eta)
    predictions = [array(name) for name in "abc"[: len(levels)]]
    result = pull * predictions[0]
    if past:
        h = there.log_snr - now.log_snr
        r0 = (now.log_snr - past[0].log_snr) / h
        slope = (predictions[0] - predictions[1]) / r0
        phi2 = _phi2((1 + eta) * h)
        if len(past) > 1:
            r1 = (past[0].log_snr - past[1].log_snr) / h
            bend = (slope - (predictions[1] - predictions[2]) / r1) / (r0 + r1)
            phi3 = phi2 / ((1 + eta) * h) - 0.5
            slope = slope + r0 * bend
            result = result - there.alpha * phi3 * bend
        result = result + there.alpha * phi2 * slope
    return [result.weights.get(name, 0.0) for name in "abc"[: len(levels)]]


def _phi2(h: float) -> float:
    """h * phi_2(-h) of exponential integrators: (e^-h - 1) / h + 1."""
    return math.expm1(-h) / h + 1


def exponential_step(here: Level, there: Level, eta: float) -> tuple[Sum, float]:
    """DPM-Solver++'s step in its first order, as an SDE: (x without its prediction, the prediction's weight)."""
    decay = there.ve / here.ve  # exp(-h) for the step h in log(alpha / sigma)
    noise = there.sigma * math.sqrt(1 - decay ** (2 * eta))
    return there.sigma / here.sigma * decay**eta * X + noise * NOISE, there.alpha * (1 - decay ** (1 + eta))


def allowed_order(path: Path, step: int, there: Level) -> int:
    """The order that diffusers allows a step: the last to a clean image is of order 1, and see `lower_order_final`.

    k-diffusion lowers it for a clean image only. A step of no length is of order 1 too, for higher ones would divide by
    its length.
    """
    if there == path.levels[path.begin + step]:
        return 1
    if path.k_diffusion:
        return 3 if there.sigma else 1
    left, short = len(path.levels) - path.begin - step, len(path.levels) < 15
    return left if short or (left == 1 and not there.sigma) else 3
