"""Our plan of a vector's case, run on the toy with the program's noise, beside what the program did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from overpaint.errors import InputError
from overpaint.runtime.conventions.convention import CONVENTIONS, Convention
from overpaint.runtime.sampling.brownian import BrownianNoise
from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.levels import ModelSchedule
from overpaint.runtime.sampling.names import find_sampler, find_schedule
from overpaint.runtime.sampling.noise import noise_stream
from overpaint.runtime.sampling.plan import Plan
from tests.vectors.toy import KEPT, SEED, SHAPE, Vector, clean, read, toy

PROGRAMS = ("a1111", "comfy")
MODEL = ModelSchedule()


@dataclass(frozen=True)
class Difference:
    """How far a case is from the program: evaluations too many, the worst timestep and the worst latent."""

    vector: Vector
    evaluations: int
    times: float
    latents: float

    @property
    def equal(self) -> bool:
        """Whether it is the program's picture."""
        return not self.evaluations and self.times < 5e-3 and self.latents < 1e-4


@cache
def vectors(program: str) -> tuple[Vector, ...]:
    """All that a program did without failing."""
    found = read(Path(__file__).with_name(f"{program}.npz"))
    return tuple(vector for vector in found if vector.latents is not None)


@cache
def ours(program: str, name: str) -> str | None:
    """Our name of a program's sampler or schedule; None where we have none, "" for its automatic schedule."""
    for find in (lambda: find_sampler(name)[0], lambda: find_schedule(name) or ""):
        try:
            return find()
        except InputError:
            continue
    return None


def compare(program: str, vector: Vector) -> Difference:
    """Raises `InputError` where we refuse the case."""
    habit, sampler = CONVENTIONS[program], find_sampler(vector.sampler)[0]
    plan = compile_plan(
        MODEL,
        sampler=sampler,
        schedule=find_schedule(vector.schedule),
        steps=vector.steps,
        strength=vector.strength,
        convention=program,
    )
    more = len(plan) - len(vector.times)
    times = 0.0 if more or not len(plan) else float(np.abs(plan.timesteps - vector.times).max())
    assert vector.latents is not None
    latents = run(plan, step_noise(habit, plan)).reshape(-1)[KEPT]
    return Difference(vector, more, times, float(np.abs(latents - vector.latents).max()))


def run(plan: Plan, noises: Callable[[int], np.ndarray]) -> np.ndarray:
    """The toy's latents by a plan; the noise at the start is the seed's first draw, at a line what `noises` gives."""
    slots = np.zeros((plan.slots, *SHAPE))
    slots[0] = plan.start[0] * clean() + plan.start[1] * noise_stream("cpu", SEED)(SHAPE)
    for line in range(len(plan)):
        output = toy(plan.scale_in[line] * slots[0], plan.timesteps[line])
        fresh = noises(line) if plan.noisy[line] else np.zeros(SHAPE)
        slots = np.tensordot(plan.matrix[line], np.stack([*slots, output, fresh]), axes=1)
    return slots[0]


def step_noise(habit: Convention, plan: Plan) -> Callable[[int], np.ndarray]:
    """What the program draws at the lines of a plan: draws of the seed's generator, or increments of its motion."""
    stream = noise_stream("cpu", SEED)
    if not habit.step_noise.again:
        stream(SHAPE)
    motion = BrownianNoise(partial(noise_stream, "cpu"), SEED)

    def draw(line: int) -> np.ndarray:
        return motion(SHAPE, plan.increment[line], plan.span[line]) if plan.brownian[line] else stream(SHAPE)

    return draw


def of(program: str, sampler: str) -> Iterator[Vector]:
    """The vectors of one of our samplers on schedules that we have."""
    for vector in vectors(program):
        if ours(program, vector.sampler) == sampler and ours(program, vector.schedule) is not None:
            yield vector
