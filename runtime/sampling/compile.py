"""From a request's few words (sampler, schedule, steps, strength) to the `Plan` that the loop follows."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np

from ...errors import InputError
from ..conventions.convention import convention as convention_of
from . import flow_path, programs
from . import strength as strengths
from .flow import FlowSchedule
from .levels import SPACINGS, ModelSchedule
from .linear import Line, checked, matrix, slot_names
from .names import resolve
from .noise_schedule import NoiseSchedule
from .path import Path
from .plan import Plan
from .samplers import SAMPLERS, Sampler, spacing_of, walk, walk_sigmas, walk_times

MAX_STEPS = 1000


def compile_plan(
    model: ModelSchedule | FlowSchedule,
    *,
    sampler: str,
    schedule: str | None = None,
    steps: int | None = None,
    strength: float = 1.0,
    convention: str = "contract",
    eta: float | None = None,
    timesteps: Sequence[float] | None = None,
    sigmas: Sequence[float] | None = None,
    inpaints: bool = False,
    latent_shape: Sequence[int] | None = None,
) -> Plan:
    """The table of a run of `sampler` over the last part of `schedule`, as much of it as `strength` says.

    Give one of `steps` (1 to 1000, of the whole schedule), `timesteps` (falling) or `sigmas` (falling, the last being
    the end, usually 0). Names are those of this package, diffusers, A1111 or ComfyUI; schedule None is the model's own,
    or the sampler's default in diffusers, or what the convention has (see `conventions`). `eta`, 0 to 1, scales the
    fresh noise of the samplers that draw any (TCD: it is gamma). `convention` is one of `strength.CONVENTIONS`,
    `inpaints` whether it works under a mask. `latent_shape`, (..., height, width), is needed where the schedule depends
    on the picture's size, and ignored elsewhere. Listed sigmas are the schedule's own, see `NoiseSchedule`; in the
    convention "comfy" they are those of a node that samples, and may end above 0. Raises `InputError`, naming the
    remedy, for anything else.
    """
    name, curve = resolve(sampler, schedule)
    kind, habit = SAMPLERS[name], convention_of(convention)
    options = _options(name, eta, dict(habit.etas).get(name, kind.eta))
    strength = _share("strength", strength)
    if sum(given is not None for given in (steps, timesteps, sigmas)) != 1:
        raise InputError("give one of steps, timesteps and sigmas")
    if steps is None and curve:
        raise InputError("listed timesteps or sigmas are a schedule: name no other")
    if steps is None and convention == "comfy" and (timesteps is not None or strength < 1):
        raise InputError("the convention 'comfy' takes listed sigmas, at strength 1, and no timesteps")

    model = model.fitted(latent_shape, habit.grid)
    if isinstance(model, FlowSchedule):
        flow_path.check(model, habit, name, curve)
    follows = steps is not None and programs.follows(habit, name, curve)
    by_times = follows and curve is None and name in habit.by_timesteps
    if follows and not by_times:
        curve = curve or habit.schedule_of(name)

    def whole(count: int) -> Path:
        if timesteps is not None:
            return walk_times(model, kind, timesteps)
        if sigmas is not None and convention == "comfy":
            return programs.walk_listed(habit, model, name, kind, sigmas)
        if sigmas is not None:
            return walk_sigmas(model, kind, sigmas)
        if follows and curve:
            return programs.walk_program(habit, model, name, kind, curve, _checked(count, model))
        if isinstance(model, FlowSchedule):
            return flow_path.walk(model, kind, curve, _checked(count, model))
        return walk(model, kind, curve, _checked(count, model))

    count = _checked(steps, model) if steps is not None else len(whole(0).levels)
    if by_times and isinstance(model, ModelSchedule):
        path = programs.enter_timesteps(habit, model, name, kind, count, strength)
    else:
        path = strengths.enter(convention, whole, count, strength)
    if isinstance(model, FlowSchedule):
        path = flow_path.entered(path, model, name)
    path = path.exploding()
    spacing = curve if curve in SPACINGS else "leading" if by_times else _own_schedule(model, kind)
    listed = "timesteps" if timesteps is not None else "sigmas" if sigmas is not None else None
    lines = _lines(kind, path, options)
    start = (1.0, 0.0)
    if lines:
        start = strengths.start(convention, path, lines[0].level, strength, spacing == "leading", inpaints)
    own = "distilled" if kind.grid == "distilled" and isinstance(model, ModelSchedule) else spacing
    recipe = Recipe(name, curve or listed or own, path, tuple(options.items()), start)
    return recipe.plan(lines)


@dataclass(frozen=True)
class Recipe:
    """What a plan was compiled from, so that a part of it can be, too."""

    sampler: str
    schedule: str
    path: Path
    options: tuple[tuple[str, float], ...]
    start: tuple[float, float]

    def plan(self, lines: list[Line]) -> Plan:
        """The plan of these lines."""
        return _plan(self, lines)

    def part(self, first: int, last: int, leftover_noise: bool) -> Plan:
        """The plan of steps `first` to before `last`; without the noise left over its last step leads to the end.

        It begins without history, as a run that starts there does, and with the noise of its first level.
        """
        path, count = self.path, len(self.path.levels) - self.path.begin
        goes_on = leftover_noise and last < count
        if last < count:
            end = path.after(path.begin + last - 1) if goes_on else path.end
            path = replace(path, levels=path.levels[: path.begin + last], end=end, closes=not goes_on)
        if first:
            path = replace(path, begin=path.begin + first, start=None)
        lines = _lines(SAMPLERS[self.sampler], path, dict(self.options), final=not goes_on)
        start = strengths.mixed(path, lines[0].level) if first else self.start
        return replace(self, path=path, start=start).plan(lines)


def _lines(kind: Sampler, path: Path, options: Mapping[str, float], *, final: bool = True) -> list[Line]:
    """The lines of the steps that run; the last of a `final` one gives x as its program has it."""
    lines = checked(kind.lines(path, **options)) if path.begin < len(path.levels) else []
    if final and lines and (scale := programs.undo_scale(path)) != 1.0:
        lines[-1] = lines[-1]._replace(slots={**lines[-1].slots, "x": lines[-1].slots["x"] * scale})
    return lines


def _own_schedule(model: ModelSchedule | FlowSchedule, kind: Sampler) -> str:
    """The schedule of a request that names none."""
    if isinstance(model, FlowSchedule):
        return model.curve or model.timestep_spacing
    return spacing_of(model, kind)


def _options(name: str, eta: float | None, usual: float | None) -> dict[str, float]:
    if usual is None:
        if eta is not None:
            raise InputError(f"the sampler {name!r} takes no eta; leave it out")
        return {}
    return {"eta": usual if eta is None else _share("eta", eta)}


def _share(name: str, value: object) -> float:
    if not isinstance(value, Real) or not 0.0 <= float(value) <= 1.0:
        raise InputError(f"{name} is {value!r}; it must be a number from 0 to 1")
    return float(value)


def _checked(steps: int, model: NoiseSchedule) -> int:
    most = min(MAX_STEPS, model.num_train_timesteps)
    try:
        count = operator.index(steps)
    except TypeError as error:
        raise InputError(f"steps is {steps!r}; it must be a whole number from 1 to {most}") from error
    if not 1 <= count <= most:
        raise InputError(f"a schedule of {count} steps is asked for; it must have 1 to {most}")
    return count


def _plan(recipe: Recipe, lines: list[Line]) -> Plan:
    path, names = recipe.path, slot_names(lines)
    clean = [path.predict(line.level)[0].weights for line in lines]
    levels = [line.level for line in lines]
    left = [*levels[1:], path.end]
    return Plan(
        sampler=recipe.sampler,
        schedule=recipe.schedule,
        names=names,
        step=np.array([line.step for line in lines], dtype=np.int64),
        sigmas=np.array([path.model.sigma_of(level) for level in levels]),
        timesteps=np.array([level.timestep for level in levels]),
        scale_in=np.array([level.alpha if path.ve else 1.0 for level in levels]),
        matrix=matrix(lines, names),
        start=np.array(recipe.start),
        denoised=np.array([(weights.get("x", 0.0), weights.get("model", 0.0)) for weights in clean]),
        noised=np.array([strengths.mixed(path, level) for level in left[: len(lines)]]),
        pass_index=np.zeros(len(lines), np.int64),
        increment=np.array([line.increment for line in lines]),
        span=np.array([path.span] * len(lines)),
        recipe=recipe,
    )
