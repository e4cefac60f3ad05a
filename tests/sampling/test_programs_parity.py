"""Samplers against A1111's and ComfyUI's own runs of them, on the sigmas that those programs handed them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.levels import ModelSchedule
from overpaint.runtime.sampling.noise import noise_stream
from tests.vectors.toy import KEPT, SEED, SHAPE, Vector, clean, read, toy

FOLDER = Path(__file__).parents[1] / "vectors"
SAMPLERS = {
    "a1111": {"DPM++ 2S a": None, "DPM fast": 1.0, "Restart": None},
    "comfy": {"dpmpp_2s_ancestral": None, "dpm_fast": None},
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


def vectors(program: str, sampler: str) -> list[Vector]:
    """Those that came to something, on sigmas that fall all the way."""
    found = (v for v in read(FOLDER / f"{program}.npz") if v.sampler == sampler and v.latents is not None)
    return [v for v in found if len(v.sigmas) > 2 and (np.diff(v.sigmas) < 0).all()]


@pytest.mark.parametrize(("program", "sampler"), [(name, sampler) for name in SAMPLERS for sampler in SAMPLERS[name]])
def test_latents_are_the_programs(program: str, sampler: str, run_plan: Callable[..., np.ndarray]) -> None:
    facts = ModelSchedule()

    cases, worst = vectors(program, sampler), {}
    options = {"sampler": sampler, "eta": SAMPLERS[program][sampler], "convention": "a1111"}
    for case in cases:
        plan = compile_plan(facts, sigmas=case.sigmas, **options)
        if program == "comfy" and np.isclose(case.sigmas[0], facts.ve[-1], rtol=1e-5):
            plan = replace(plan, start=np.array([1.0, np.hypot(1.0, case.sigmas[0])]))
        times = iter(case.times if program == "comfy" else plan.timesteps)

        def model(x: np.ndarray, timestep: float, times: Iterator[float] = times) -> np.ndarray:
            told = next(times)  # ComfyUI tells the nearest whole timestep, by float32 logarithms
            assert abs(told - timestep) < 0.51
            return toy(x, told)

        ours = run_plan(plan, model, clean(), draws(program)).reshape(-1)[KEPT]
        worst[case.case] = np.abs(ours - case.latents).max()
    assert len(cases) > 100
    assert {name: error for name, error in worst.items() if error > 2e-4} == {}
