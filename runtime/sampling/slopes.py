"""Samplers of ComfyUI that go along slopes of x in sigma, from several evaluations or steps; x = clean + ve * noise."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from .linear import Line, X, array, total
from .multi_step import adams_bashforth
from .path import Path

SAVED = array("saved")
OLD, OLDER, OLDEST = array("old"), array("older"), array("oldest")

_ADAMS = {1: (1.0,), 2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12), 4: (55 / 24, -59 / 24, 37 / 24, -9 / 24)}
"""Adams-Bashforth's weights of even steps, the newest slope first, by order."""


def ipndm(path: Path) -> Iterator[Line]:
    """Zhang and Chen, "Fast Sampling with Exponential Integrator" (arXiv:2204.13902), improved PNDM: Adams-Bashforth's
    weights of even steps, of order 4, on sigmas as they are."""
    return _adams(path, even=True)


def ipndm_v(path: Path) -> Iterator[Line]:
    """`ipndm` with Adams-Bashforth's weights of uneven steps; ComfyUI's are those of the code of Zhou et al.
    (arXiv:2312.00094), with its slips."""
    return _adams(path, even=False)


def _adams(path: Path, even: bool) -> Iterator[Line]:
    for step, here, there in path:
        _, eps = path.predict(here)
        slopes = [eps, OLD, OLDER, OLDEST][: step + 1]
        sigmas = [path.levels[path.begin + step - back].ve for back in range(len(slopes))]
        rise = there.ve - here.ve
        if even:
            weights = [rise * weight for weight in _ADAMS[len(slopes)]]
        elif path.like == "comfy":
            weights = [rise * weight for weight in _uneven(there.ve, sigmas)]
        else:
            weights = adams_bashforth(sigmas, there.ve)
        move = total(weights, slopes) if there.ve else rise * eps
        yield Line(step, here, {"x": X + move} | dict(zip(("old", "older", "oldest"), slopes, strict=False)))


def _uneven(end: float, sigmas: list[float]) -> list[float]:
    """Weights of slopes at up to 4 sigmas, newest first, in a step to `end`.

    They are Adams-Bashforth's up to order 2; above, `bend` is 1 less a product where the integral is a product with 1
    less a share, and the last weight has another ratio, so that the weights of order 4 do not sum to 1.
    """
    h, *before = (high - low for high, low in zip([end, *sigmas], sigmas, strict=False))
    if not before:
        return [1.0]
    a, *more = before
    linear = [1 + h / a / 2, -h / a / 2]
    if not more:
        return linear
    b, *last = more
    bend = (1 - h / (3 * (h + a)) * (h * (h + a)) / (a * (a + b))) / 2
    curved = [linear[0] + bend, linear[1] - (1 + a / b) * bend, bend * a / b]
    if not last:
        return curved
    (c,) = last
    whole = (1 - h / (3 * (h + a))) / 2 + (1 - h / (2 * (h + a))) * h / (6 * (h + a + b))
    twist = whole * (h * (h + a) * (h + a + b)) / (a * (a + b) * (a + b + c))
    far = a * (a + b) / (b * (b + c))
    return [
        curved[0] + twist,
        curved[1] - (1 + a / b + far) * twist,
        curved[2] + (a / b + far * (1 + b / c)) * twist,
        -twist * far * a / b,
    ]


def heunpp2(path: Path) -> Iterator[Line]:
    """Heun++, as ComfyUI has it: a step along the slopes at up to three levels.

    Each further one counts as much as its sigma is of the run's first, over their number.
    """
    levels = [*path.levels[path.begin :], path.end]
    for step, (here, there) in enumerate(pairwise(levels)):
        count = min(3, len(levels) - 1 - step)
        visited = levels[step : step + count]
        shares = [level.ve / (count * levels[0].ve) for level in visited[1:]]
        made = X
        for level, further, share in zip(visited, levels[step + 1 :], [1 - sum(shares), *shares], strict=False):
            _, eps = path.predict(level)
            made = made + (there.ve - here.ve) * share * eps
            last = level is visited[-1]
            yield Line(step, level, {"x": made} if last else {"x": X + (further.ve - level.ve) * eps, "saved": made})
            made = SAVED


def gradient_estimation(path: Path, gamma: float = 2.0) -> Iterator[Line]:
    """Permenter and Yuan, "Interpreting and Improving Diffusion Models" (arXiv:2306.04848), Algorithm 2."""
    for step, here, there in path:
        _, eps = path.predict(here)
        slope = gamma * eps + (1 - gamma) * OLD if step and there.ve else eps
        yield Line(step, here, {"x": X + (there.ve - here.ve) * slope, "old": eps})
