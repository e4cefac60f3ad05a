"""SA-Solver: stochastic Adams steps in log SNR, predicted and then corrected."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from .levels import Level
from .linear import NOISE, Line, Sum, X, array, total
from .path import Path

BASE, DRIFT = array("base"), array("drift")
PAST = tuple(map(array, ("old", "older", "oldest")))
PREDICTOR, CORRECTOR = 3, 4
"""The highest orders."""
_NEAR = 1e-5


def sa_solver(path: Path, eta: float) -> Iterator[Line]:
    """Xue et al., "SA-Solver" (arXiv:2309.05019), Algorithm 1, with noise between a fifth and four fifths of the
    sampling, as in ComfyUI."""
    return _sa_solver(path, eta, again=False)


def sa_solver_pece(path: Path, eta: float) -> Iterator[Line]:
    """`sa_solver` whose corrected steps are evaluated again."""
    return _sa_solver(path, eta, again=True)


def _sa_solver(path: Path, eta: float, again: bool) -> Iterator[Line]:
    low, high = (path.model.ratio_at(share) for share in (0.2, 0.8))
    steps, past, tau = list(path), list[Level](), 0.0
    for step, here, there in steps:
        left = len(steps) - step
        levels = [here, *past]
        x0, _ = path.predict(here)
        base, order = X, min(CORRECTOR, len(levels), left if not path.end.ve else CORRECTOR)
        if past and (there.ve or again):
            base = _stepped(BASE, past[0], here, tau, levels[:order], [x0, *PAST]) + DRIFT
            if again:
                yield Line(step, here, {"x": base, "base": base, **_kept([*PAST[:2]])})
                x0, _ = path.predict(here)
                base = X
        if not there.ve:
            yield Line(step, here, {"x": there.alpha * x0})
            continue
        # Both ends are levels of some schedules: rounding decides nothing.
        tau = eta if low * (1 - _NEAR) <= there.ve <= high * (1 + _NEAR) else 0.0
        order = min(PREDICTOR, len(levels), left - 1 if not path.end.ve else PREDICTOR)
        predicted = _stepped(base, here, there, tau, levels[:order], [x0, *PAST])
        decay = math.pow(there.ve / here.ve, tau**2)
        drift = there.sigma * math.sqrt(1 - decay**2) * NOISE
        kept = _kept([x0, *PAST[:2]][: len(levels)])
        yield Line(step, here, {"x": predicted + drift, "base": base, "drift": drift, **kept})
        past = [here, *past][: CORRECTOR - 1]


def _kept(predictions: Sequence[Sum]) -> dict[str, Sum]:
    return dict(zip(("old", "older", "oldest"), predictions, strict=False))


def _stepped(x: Sum, here: Level, there: Level, tau: float, levels: Sequence[Level], predictions: Sequence[Sum]) -> Sum:
    """x without fresh noise after a step in which the prediction is the polynomial through those at `levels`.

    The weights are those that integrate its powers, equation 14 of the paper: of k e^(k u) u^p over log SNR, u being 0
    at the end and k = 1 + tau^2.
    """
    kept = there.sigma / here.sigma * math.pow(there.ve / here.ve, tau**2)
    h, k = there.log_snr - here.log_snr, 1 + tau**2
    moments = [1 - math.exp(-k * h)]
    for power in range(1, len(levels)):
        moments.append(-((-h) ** power) * math.exp(-k * h) - power / k * moments[-1])
    places = np.array([level.log_snr - there.log_snr for level in levels])
    weights = np.linalg.solve(np.vander(places, increasing=True).T, np.array(moments))
    predicted: Sum = there.alpha * total(weights.tolist(), predictions)
    return kept * x + predicted
