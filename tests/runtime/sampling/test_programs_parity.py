"""Samplers against A1111's and ComfyUI's own runs of them, on the sigmas that those programs handed them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from overpaint.runtime.sampling.brownian import BrownianNoise
from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.levels import ModelSchedule
from overpaint.runtime.sampling.names import find_sampler
from overpaint.runtime.sampling.noise import NoiseStream, noise_stream
from overpaint.runtime.sampling.samplers import SAMPLERS
from tests.vectors.toy import KEPT, SEED, SHAPE, Vector, clean, read, toy

FOLDER = Path(__file__).parents[2] / "vectors"
PROGRAMS = {
    "a1111": {
        "DPM++ 2S a": None,
        "DPM++ SDE": None,
        "DPM++ 2M SDE": None,
        "DPM++ 3M SDE": None,
        "DPM fast": 1.0,
        "Restart": None,
    },
    "comfy": {
        "dpmpp_2s_ancestral": None,
        "dpmpp_sde": None,
        "dpmpp_2m_sde": None,
        "dpmpp_3m_sde": None,
        "dpm_fast": 0.0,
    },
}
"""Of each program, its samplers and the eta that it gives them."""


def draws(program: str) -> Iterator[np.ndarray]:
    """A1111 goes on with the generator of the first noise, ComfyUI begins again from the seed."""
    stream = noise_stream("cpu", SEED)
    yield stream(SHAPE)
    if program == "comfy":
        stream = noise_stream("cpu", SEED)
    while True:
        yield stream(SHAPE)


def motion_of(noise: BrownianNoise, span: np.ndarray, high: float, low: float) -> np.ndarray:
    return noise(SHAPE, np.array([high, low]), span)


def cpu(seed: int) -> NoiseStream:
    return noise_stream("cpu", seed)


def vectors(program: str, sampler: str) -> list[Vector]:
    """Those that came to something, on sigmas that fall all the way."""
    found = (v for v in read(FOLDER / f"{program}.npz") if v.sampler == sampler and v.latents is not None)
    return [v for v in found if len(v.sigmas) > 2 and (np.diff(v.sigmas) < 0).all()]


@pytest.mark.parametrize(("program", "sampler"), [(name, sampler) for name in PROGRAMS for sampler in PROGRAMS[name]])
def test_latents_are_the_programs(program: str, sampler: str, run_plan: Callable[..., np.ndarray]) -> None:
    facts, own = ModelSchedule(), find_sampler(sampler)[0]
    cases, worst = vectors(program, sampler), {}
    whole = {(v.schedule, v.steps): v.sigmas for v in cases if v.strength == 1}
    options = {"sampler": sampler, "eta": PROGRAMS[program][sampler], "convention": "a1111"}
    for case in cases[:: 7 if "SDE" in sampler.upper() else 2]:  # a motion takes its time
        plan = compile_plan(facts, sigmas=case.sigmas, **options)
        if program == "comfy" and np.isclose(case.sigmas[0], facts.sigmas[-1], rtol=1e-5):
            noise = np.hypot(1.0, case.sigmas[0])
            plan = replace(plan, start=np.array([1.0, noise]) / (1.0 if SAMPLERS[own].ve else noise))
        times = iter(case.times if program == "comfy" else plan.timesteps)

        def model(x: np.ndarray, timestep: float, times: Iterator[float] = times) -> np.ndarray:
            told = next(times)  # ComfyUI tells the nearest whole timestep, by float32 logarithms
            assert abs(told - timestep) < 0.51
            return toy(x, told)

        spanned = whole[case.schedule, case.steps] if program == "a1111" else case.sigmas
        span = spanned[[0, -1 if spanned[-1] else -2]]
        motion = partial(motion_of, BrownianNoise(cpu, SEED), span)
        ours = run_plan(plan, model, clean(), draws(program), motion).reshape(-1)[KEPT]
        ours = ours * (1.0 if SAMPLERS[own].ve else np.hypot(1.0, case.sigmas[-1]))  # theirs is clean + sigma * noise
        worst[case.case] = np.abs(ours - case.latents).max()
    assert len(worst) > 20
    # A float32 exponential of dpmpp_sde may have another last bit, which moves its motion's time by a millionth.
    most = 1e-2 if own == "dpmpp_sde" else 2e-4
    assert {name: error for name, error in worst.items() if error > most} == {}
    if program == "a1111":  # under whose convention the listed sigmas are taken; ComfyUI's ends are not rounded twice
        assert sum(error > 2e-4 for error in worst.values()) <= len(worst) // 10
