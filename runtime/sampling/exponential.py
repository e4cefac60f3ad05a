"""Samplers of ComfyUI that step in log SNR by exponential integrators, with noise or without."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .levels import Level
from .linear import NOISE, Line, X, array
from .path import Path

SAVED, OLD, SLOPE, DRIFT = array("saved"), array("old"), array("slope"), array("drift")


def res_multistep(path: Path) -> Iterator[Line]:
    """Zhang et al., "Improved Order Analysis and Design of Exponential Integrator" (arXiv:2308.02157), RES of order 2
    from the step before; x = clean + ve * noise."""
    return res_multistep_a(path, eta=0.0)


def res_multistep_a(path: Path, eta: float) -> Iterator[Line]:
    """`res_multistep` with ancestral noise, as ComfyUI has it: the step before ended where its noise was added."""
    before: tuple[float, float] | None = None
    for step, here, there in path:
        x0, eps = path.predict(here)
        down, _, up = path.model.ancestral(here.ve, there.ve, eta)
        if before is None or not down:
            x = X + (down - here.ve) * eps
        else:
            h = math.log(here.ve / down)
            back = math.log(before[1] / before[0]) / h
            whole, rest = _phi1(-h), _phi2(-h)
            x = math.exp(-h) * X + h * ((whole - rest / back) * x0 + rest / back * OLD)
        yield Line(step, here, {"x": x + up * NOISE, "old": x0})
        before = here.ve, down


def _phi1(h: float) -> float:
    """(e^h - 1) / h."""
    return math.expm1(h) / h


def _phi2(h: float) -> float:
    """(e^h - 1 - h) / h^2."""
    return (_phi1(h) - 1) / h


_POINTS = 200


def er_sde(path: Path) -> Iterator[Line]:
    """Cui et al., "Elucidating the Solution Space of Extended Reverse-Time SDE" (arXiv:2309.06169), ER-SDE-Solver-3.

    The scale of noise is ComfyUI's, and the integrals are sums of 200 parts, as there.
    """
    past: list[float] = []
    for step, here, there in path:
        x0, _ = path.predict(here)
        if not there.ve:
            yield Line(step, here, {"x": there.alpha * x0})
            continue
        start, end = here.ve, there.ve
        decay = _scale(end) / _scale(start)
        x = there.alpha / here.alpha * decay * X + there.alpha * (1 - decay) * x0
        slots = {"old": x0}
        if past:
            part = (start - end) / _POINTS
            places = [end + number * part for number in range(_POINTS)]
            whole = part * sum(1 / _scale(place) for place in places)
            slope = (x0 - OLD) / (start - past[-1])
            x = x + there.alpha * (end - start + whole * _scale(end)) * slope
            slots["slope"] = slope
        if len(past) > 1:
            bend = (slope - SLOPE) / ((start - past[-2]) / 2)
            moment = part * sum((place - start) / _scale(place) for place in places)
            x = x + there.alpha * ((end - start) ** 2 / 2 + moment * _scale(end)) * bend
        noise = there.alpha * math.sqrt(max(end**2 - start**2 * decay**2, 0.0))
        yield Line(step, here, {"x": x + noise * NOISE} | slots)
        past.append(start)


def _scale(sigma: float) -> float:
    """How much noise the reverse process is given at a level."""
    return sigma * (math.exp(math.pow(sigma, 0.3)) + 10.0)


def seeds_2(path: Path, eta: float) -> Iterator[Line]:
    """Gonzalez et al., "SEEDS" (arXiv:2305.14267), SEEDS-2: a second stage half way in log SNR."""
    for step, here, there in path:
        x0, _ = path.predict(here)
        if not there.ve:
            yield Line(step, here, {"x": there.alpha * x0})
            continue
        middle = _part(path, here, there, 1 / 2)
        kept, noise = _stage(here, middle, eta)
        drift = noise * NOISE
        x = kept * X + _pull(here, middle, eta) * x0 + drift
        yield Line(step, here, {"x": x, "saved": X, "drift": drift})
        x0, _ = path.predict(middle)
        kept, noise = _stage(middle, there, eta)
        x = _stage(here, there, eta)[0] * SAVED + _pull(here, there, eta) * x0
        yield Line(step, middle, {"x": x + kept * DRIFT + noise * NOISE})


def seeds_3(path: Path, eta: float) -> Iterator[Line]:
    """SEEDS-3 of the same paper: stages at a third and two thirds in log SNR."""
    for step, here, there in path:
        x0, _ = path.predict(here)
        if not there.ve:
            yield Line(step, here, {"x": there.alpha * x0})
            continue
        first, second = (_part(path, here, there, share) for share in (1 / 3, 2 / 3))
        kept, noise = _stage(here, first, eta)
        drift = noise * NOISE
        x = kept * X + _pull(here, first, eta) * x0 + drift
        yield Line(step, here, {"x": x, "saved": X, "old": x0, "drift": drift})
        for level, last, share in ((first, second, 1 / 2), (second, there, 2 / 3)):
            x0, _ = path.predict(level)
            kept, noise = _stage(level, last, eta)
            drift = kept * DRIFT + noise * NOISE
            x = _stage(here, last, eta)[0] * SAVED + _pull(here, last, eta) * OLD
            x = x + _bend(here, last, eta) / share * (x0 - OLD)
            yield Line(step, level, {"x": x + drift, "saved": SAVED, "old": OLD, "drift": drift})


def _bend(here: Level, there: Level, eta: float) -> float:
    """The weight of the prediction's change over a step."""
    h = (1 + eta) * (there.log_snr - here.log_snr)
    return there.alpha * (1 + math.expm1(-h) / h)


def _part(path: Path, here: Level, there: Level, share: float) -> Level:
    """The level a share of the way in log SNR."""
    return path.at(math.exp((1 - share) * math.log(here.ve) + share * math.log(there.ve)))


def _stage(here: Level, there: Level, eta: float) -> tuple[float, float]:
    """(What is left of x, fresh noise) in a step of the SDE."""
    decay = math.pow(there.ve / here.ve, eta)
    return there.sigma / here.sigma * decay, there.sigma * math.sqrt(1 - decay**2)


def _pull(here: Level, there: Level, eta: float) -> float:
    """The weight of a prediction that is held for the whole step."""
    return there.alpha * (1 - math.pow(there.ve / here.ve, 1 + eta))
