"""UniPC: a multistep predictor whose steps are corrected once the model has been evaluated at their end."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .levels import Level
from .linear import Line, Sum, X, array, total
from .path import Path

LAST, OLD, OLDER = array("last"), array("old"), array("older")


def unipc(path: Path) -> Iterator[Line]:
    """Zhao et al., "UniPC" (arXiv:2302.04867), Algorithms 5 and 6 (predicting the image), order 2, B(h) = e^h - 1.

    Slot "last" is the corrected x that the newest step began at, "old" and "older" are the predictions there and one
    step before. The last step is of order 1, as in diffusers.
    """
    past: list[Level] = []
    order = 0
    for step, here, there in path:
        x0, _ = path.predict(here)
        x = X
        if past:
            x = _step(past[-1], here, LAST, OLD, [(past[-2], OLDER)] if order > 1 else [], corrector=x0)
        order = min(2, step + 1, len(path.levels) - path.begin - step)
        predicted = _step(here, there, x, x0, [(past[-1], OLD)] if order > 1 else [])
        yield Line(step, here, {"x": predicted, "last": x, "old": x0} | ({"older": OLD} if past else {}))
        past.append(here)


def _step(
    here: Level, there: Level, x: Sum, x0: Sum, history: list[tuple[Level, Sum]], corrector: Sum | None = None
) -> Sum:
    """From `here`, where the image was predicted as `x0`, to `there`, with the predictions of `history` before it.

    With a `corrector`, the prediction made at `there`, this is UniC (equation 9 of the paper), else UniP (equation 3).
    """
    h = there.log_snr - here.log_snr
    shrink = math.expm1(-h)
    ratios = [(level.log_snr - here.log_snr) / h for level, _ in history]
    slopes = [(prediction - x0) / ratio for (_, prediction), ratio in zip(history, ratios, strict=True)]
    if corrector is not None:
        ratios, slopes = [*ratios, 1.0], [*slopes, corrector - x0]
    # In order 1 and for the predictor of order 2 the paper's equation degenerates; it sets the weight to 1/2.
    weights = _weights(ratios, h) if len(ratios) > 1 else [0.5]
    return there.sigma / here.sigma * x - there.alpha * shrink * (x0 + total(weights, slopes))


def _weights(ratios: list[float], h: float) -> list[float]:
    """The paper's equation 5 for B(h) = e^h - 1, in data prediction: sum over m of ratio_m^(k-1) a_m = b_k."""
    phi, factorial, right = math.expm1(-h) / -h - 1, 1.0, []
    for k in range(1, len(ratios) + 1):
        right.append(phi * factorial / math.expm1(-h))
        factorial *= k + 1
        phi = phi / -h - 1 / factorial
    powers = np.vander(ratios, increasing=True).T
    return [float(weight) for weight in np.linalg.solve(powers, right)]
