"""A picture begun by one model and ended by another: SDXL's base and its refiner."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from ...errors import InputError
from ..denoising.loop import Step
from ..execution.run import Run
from ..execution.snapshots import RunSnapshot
from ..model.model import Model
from ..model.planning import PreparedRequest
from ..requests import checks
from ..requests.defaults import sampling
from ..requests.request import Request
from ..requests.result import Output, Result
from ..requests.settle import settled
from ..sampling.plan import Plan

SWITCH = 0.8
"""Where the refiner takes over, unless it is given: Podell et al. (arXiv:2307.01952), section 2.5, the last 200 of 1000
timesteps."""


class Refined:
    """A request on its way through two models, as A1111's "Refiner" and diffusers' denoising_end and denoising_start
    have it: `refiner` takes every evaluation whose timestep is below (1 - switch) of the trained ones.

    Both follow one table, and the sampler goes on with what it has. Iterating, once, yields a step for every
    evaluation. Raises `InputError` for a switch that leaves either nothing to do, for models of other latents or of
    another noise schedule, and as `Run` does.
    """

    def __init__(self, model: Model, refiner: Model, request: Request, switch: float = SWITCH) -> None:
        with checks.of("refiner_switch"):
            checks.number("refiner_switch", switch, 0, 1)
        _check_latents(model, refiner)
        facts = model.bundle.model
        sampler, schedule = sampling(facts, request.sampler, request.schedule, request.convention)
        request = replace(settled(request, facts.defaults["img2img"]), sampler=sampler, schedule=schedule)
        scored = "aesthetic_score" in facts.size_ids
        # The refiner's numbers are others, and its one text encoder has layers of its own.
        base = request if scored else replace(request, aesthetic_score=None, negative_aesthetic_score=None)
        self._refined = replace(request, target_size=None, clip_skip=0)
        self._refiner, self._switch = refiner, switch
        self._base = Run(model, [base])
        self._plan = self._base.prepared[0].plan
        if refiner.plan(self._refined) != self._plan:
            raise InputError("the refiner was trained on another noise schedule than the base; take one of its family")
        self.at = _first_refined(self._plan, model.schedule.num_train_timesteps * (1 - switch))
        """The evaluation that is the refiner's first."""
        if not 0 < self.at < len(self._plan):
            whose = "the base" if self.at else "the refiner"
            raise InputError(
                f"with refiner_switch {switch:g} all {len(self._plan)} evaluations are {whose}'s; choose another "
                f"switch, or use {whose} alone",
                "refiner_switch",
            )
        self.evaluations = len(self._plan)
        self._last: Run | None = None

    def __iter__(self) -> Generator[Step]:
        """Do the work."""
        begun = iter(self._base)
        try:
            for done, step in enumerate(begun, 1):
                yield step
                if done == self.at:
                    snapshot = RunSnapshot(self._refined, self._base.snapshot().job)
                    break
        finally:
            begun.close()
        self._last = Run(self._refiner, [self._refined], snapshot)
        yield from self._last

    @property
    def prepared(self) -> tuple[PreparedRequest, ...]:
        """The request as it is fitted to the base."""
        return self._base.prepared

    def result(self) -> Result:
        """The result; raises `InputError` before the end."""
        if self._last is None:
            raise InputError("the run has not ended; iterate over it to its end before asking for its result")
        result = self._last.result()
        return replace(result, outputs=tuple(map(self._noted, result.outputs)))

    def _noted(self, output: Output) -> Output:
        """The output with what A1111 writes of a refiner. No record has two models, so that it has none."""
        name = self._refiner.bundle.model.name
        more = f", Refiner: {name}, Refiner switch at: {self._switch:g}"
        return replace(output, parameters=output.parameters + more, recorder=None)


def _check_latents(model: Model, refiner: Model) -> None:
    base, other = model.bundle.model, refiner.bundle.model
    for name in ("latent_channels", "downscale", "scaling_factor", "shift_factor"):
        if getattr(base, name) != getattr(other, name):
            raise InputError(
                f"{base.name!r} and {other.name!r} have other latents ({name}); take a refiner of its family"
            )


def _first_refined(plan: Plan, timestep: float) -> int:
    """The first evaluation below a timestep, at the beginning of a step; A1111 and diffusers round to whole ones."""
    below = np.flatnonzero(plan.timesteps < round(timestep))
    if not len(below):
        return len(plan)
    return int(np.flatnonzero(plan.step == plan.step[below[0]])[0])
