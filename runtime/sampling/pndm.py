"""Pseudo numerical methods: linear multistep and Runge-Kutta on the model's outputs, DDIM between levels."""

from __future__ import annotations

from collections.abc import Iterator

from .levels import Level
from .linear import MODEL, Line, Sum, X, array, total
from .path import Path

OLD, OLDER, OLDEST = array("old"), array("older"), array("oldest")
SAVED, SUM = array("saved"), array("sum")


def plms(path: Path) -> Iterator[Line]:
    """Liu et al., "Pseudo Numerical Methods for Diffusion Models" (arXiv:2202.09778): linear multistep, section 3.3.

    Its first step is taken again with the mean of both its ends, so the second level is evaluated twice. diffusers
    doubles it before it cuts the schedule to a strength, after which a later level stands in for it. A1111 evaluates
    twice even where one step leads to the end.
    """
    if path.like == "diffusers":
        indices = _second_twice(range(len(path.levels)))[path.begin :]
    else:
        indices = _second_twice(range(path.begin, len(path.levels)))
        if len(indices) == 1 and path.start is not None:
            indices.append(len(path.levels))
    for count, index in enumerate(indices):
        step, here = max(0, count - 1), (*path.levels, path.end)[index]
        if count == 1:
            x = transfer(path, path.before(index), here, SAVED, 0.5 * (MODEL + OLD))
            yield Line(step, here, {"x": x, "old": OLD})
            continue
        past = [MODEL, OLD, OLDER, OLDEST][: max(1, count)]
        x = transfer(path, here, path.after(index), X, total(ADAMS[len(past)], past))
        saved = {"saved": X} if count == 0 else {}
        yield Line(step, here, {"x": x} | saved | dict(zip(("old", "older", "oldest"), past, strict=False)))


def pndm(path: Path) -> Iterator[Line]:
    """Liu et al. (arXiv:2202.09778), Algorithm 2: three steps of pseudo Runge-Kutta, then linear multistep.

    This is diffusers' PNDMScheduler with skip_prk_steps off. The last step is always of the latter kind.
    """
    kept = ("old", "older", "oldest")
    for step, here, there in path:
        index = path.begin + step
        past = [MODEL, OLD, OLDER, OLDEST][: min(4, step + 1)]
        olds = dict(zip(kept, past, strict=False))
        if step >= 3 or index + 1 == len(path.levels):
            yield Line(step, here, {"x": transfer(path, here, there, X, total(ADAMS[len(past)], past))} | olds)
            continue
        there = path.levels[index + 1]
        half, middle = _middles(path, here, there)
        yield Line(step, here, {"x": transfer(path, here, half, X, MODEL), "saved": X, "sum": MODEL / 6} | olds)
        olds = {name: array(name) for name in olds}
        more = olds | {"saved": SAVED, "sum": SUM + MODEL / 3}
        yield Line(step, middle, {"x": transfer(path, here, middle, SAVED, MODEL)} | more)
        yield Line(step, middle, {"x": transfer(path, here, there, SAVED, MODEL)} | more)
        yield Line(step, there, {"x": transfer(path, here, there, SAVED, SUM + MODEL / 6)} | olds)


ADAMS = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}
"""Adams-Bashforth weights on even steps, newest first."""


def transfer(path: Path, here: Level, there: Level, x: Sum, output: Sum) -> Sum:
    """The step from `here` to `there` along a model output: equation 9 of PNDM, which is DDIM's."""
    x0, eps = path.predict(here, x, output)
    return there.alpha * x0 + there.sigma * eps


def _middles(path: Path, here: Level, there: Level) -> tuple[Level, Level]:
    """Where half a step leads, and the level half way, which are one but for whole timesteps."""
    if path.gap is not None:
        half = path.gap // 2
        return path.model.level(here.timestep - half), path.model.level(there.timestep + half)
    middle = path.between(here, there)
    return middle, middle


def _second_twice(indices: range) -> list[int]:
    return [*indices[:2], *indices[1:]]
