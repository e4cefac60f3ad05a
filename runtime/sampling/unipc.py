"""UniPC: a multistep predictor whose steps are corrected once the model has been evaluated at their end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from .levels import Level
from .linear import Line, Sum, X, array, total
from .path import Path

LAST, OLD, OLDER, OLDEST = array("last"), array("old"), array("older"), array("oldest")


def unipc(path: Path) -> Iterator[Line]:
    """UniPC with the B(h) and the highest order of the path's habit: in diffusers e^h - 1 ("bh2") and 2."""
    return _unipc(path, *path.habit.unipc)


def unipc_bh2(path: Path) -> Iterator[Line]:
    """UniPC with B(h) = e^h - 1 whatever the habit; ComfyUI has it besides the one with B(h) = h."""
    return _unipc(path, "bh2", path.habit.unipc[1])


def _unipc(path: Path, kind: str, highest: int) -> Iterator[Line]:
    """Zhao et al., "UniPC" (arXiv:2302.04867), Algorithms 5 and 6 (predicting the image).

    Slot "last" is the corrected x that the newest step began at, "old" and those after it are the predictions there and
    at the steps before. The orders fall to 1 towards the end, as in diffusers, A1111 and ComfyUI.
    """
    past: list[Level] = []
    kept = (OLD, OLDER, OLDEST)
    order = 0
    for step, here, there in path:
        x0, _ = path.predict(here)
        x = X
        if past:
            history = _finite(zip(past[-2::-1], kept[1:], strict=False))[: order - 1]
            x = _step(past[-1], here, LAST, OLD, history, kind, corrector=x0)
        order = min(highest, step + 1, len(path.levels) - path.begin - step)
        predicted = _step(here, there, x, x0, _finite(zip(past[::-1], kept, strict=False))[: order - 1], kind)
        olds = dict(zip(("old", "older", "oldest")[:highest], [x0, *kept[: len(past)]], strict=False))
        yield Line(step, here, {"x": predicted, "last": x} | olds)
        past.append(here)


def _finite(history: Iterable[tuple[Level, Sum]]) -> list[tuple[Level, Sum]]:
    """The predictions through which a polynomial in log SNR can go: none made at pure noise."""
    return [(level, prediction) for level, prediction in history if math.isfinite(level.log_snr)]


def _step(
    here: Level,
    there: Level,
    x: Sum,
    x0: Sum,
    history: list[tuple[Level, Sum]],
    kind: str,
    corrector: Sum | None = None,
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
    scale = shrink if kind == "bh2" else -h
    # In order 1 and for the predictor of order 2 the paper's equation degenerates; it sets the weight to 1/2.
    weights = _weights(ratios, h, scale) if len(ratios) > 1 else [0.5]
    if kind == "bh1":
        weights = [weight * scale / shrink for weight in weights]
    return there.sigma / here.sigma * x - there.alpha * shrink * (x0 + total(weights, slopes))


def _weights(ratios: list[float], h: float, scale: float) -> list[float]:
    """The paper's equation 5 in data prediction, for B(-h) = `scale`: sum over m of ratio_m^(k-1) a_m = b_k."""
    phi, factorial, right = math.expm1(-h) / -h - 1, 1.0, []
    for k in range(1, len(ratios) + 1):
        right.append(phi * factorial / scale)
        factorial *= k + 1
        phi = phi / -h - 1 / factorial
    powers = np.vander(ratios, increasing=True).T
    return [float(weight) for weight in np.linalg.solve(powers, right)]
