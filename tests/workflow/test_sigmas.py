"""Sigmas and plans of sampler nodes, beside ComfyUI's numbers and beside the convention of the runtime."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from overpaint.errors import InputError
from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.levels import ModelSchedule
from overpaint.workflow.guided_times import percent_sigma
from overpaint.workflow.nodes import schedulers as nodes
from overpaint.workflow.sigmas import SAMPLERS, SCHEDULERS, aligned_sigmas, scheduler_sigmas, turbo_sigmas

SD: Any = SimpleNamespace(schedule=ModelSchedule())

# Of ComfyUI 0.3.64: scheduler, steps, denoise, sampler.
KNOWN = {
    ("simple", 4, 1.0, "euler"): [14.614641, 4.081729, 1.612886, 0.693205, 0.0],
    ("normal", 4, 0.3, "euler"): [0.69515, 0.493552, 0.305776, 0.029167, 0.0],
    ("karras", 4, 0.5, "euler"): [0.828868, 0.32112, 0.107198, 0.029167, 0.0],
    ("exponential", 4, 1.0, "dpm_2"): [14.61464, 3.088976, 0.652892, 0.137996, 0.0],
    ("sgm_uniform", 4, 0.87, "dpm_2"): [14.61464, 5.092408, 2.279731, 1.162865, 0.0],
    ("ddim_uniform", 4, 0.3, "euler"): [0.642347, 0.462853, 0.291284, 0.041314, 0.0],
    ("beta", 4, 1.0, "euler"): [14.614641, 5.686592, 1.618279, 0.515391, 0.0],
    ("linear_quadratic", 4, 0.5, "euler"): [14.249275, 13.29019, 10.595615, 6.165552, 0.0],
    ("kl_optimal", 4, 1.0, "euler"): [14.614633, 1.597066, 0.572914, 0.029167, 0.0],
}


@pytest.mark.parametrize(("scheduler", "steps", "denoise", "sampler"), KNOWN)
def test_sigmas_are_comfyuis(scheduler: str, steps: int, denoise: float, sampler: str) -> None:
    sigmas = scheduler_sigmas(SD, scheduler, steps, denoise, sampler)
    np.testing.assert_allclose(sigmas, KNOWN[scheduler, steps, denoise, sampler], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("denoise", [0.45, 1.0])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_plan_of_listed_sigmas_is_the_conventions(sampler: str, scheduler: str, denoise: float) -> None:
    sigmas = scheduler_sigmas(SD, scheduler, 7, denoise, sampler)
    plans = [
        compile_plan(SD.schedule, sampler=sampler, convention="comfy", sigmas=list(sigmas)),
        compile_plan(SD.schedule, sampler=sampler, convention="comfy", schedule=scheduler, steps=7, strength=denoise),
    ]
    assert replace(plans[0], schedule=scheduler) == plans[1]


def test_sigmas_that_rise_are_eulers_alone() -> None:
    rising = [0.0001, 0.5, 2.0, 14.6]
    plan = compile_plan(SD.schedule, sampler="euler", convention="comfy", sigmas=rising)
    assert len(plan) == 3
    with pytest.raises(InputError, match="do not fall"):
        compile_plan(SD.schedule, sampler="dpmpp_2m", convention="comfy", sigmas=rising)


def test_a_run_that_stops_early_leaves_its_noise() -> None:
    plan = compile_plan(SD.schedule, sampler="dpmpp_2m", convention="comfy", sigmas=[14.6, 5.0, 2.0])
    x, output = plan.matrix[-1, 0, 0], plan.matrix[-1, 0, -2]
    assert np.isfinite([x, output]).all()
    # x of clean latents 0 and unit noise stays pure noise, with the weight of the last sigma.
    state = np.array([plan.start[1], *[0.0] * (plan.slots - 1)])
    for line in range(len(plan)):
        state = plan.matrix[line] @ np.array([*state, 1.0, 0.0])
    assert state[0] == pytest.approx(2.0, rel=0.02)


def test_sigmas_of_the_other_nodes() -> None:
    context: Any = None
    karras = nodes.karras_scheduler.function(context, 4, 14.614642, 0.0291675, 7.0)
    np.testing.assert_allclose(karras, [14.614642, 3.168605, 0.446919, 0.029167, 0.0], rtol=1e-4)
    assert turbo_sigmas(SD, 1, 1.0) == pytest.approx([14.614641, 0.0], rel=1e-5)
    assert len(turbo_sigmas(SD, 4, 0.5)) == 5
    assert aligned_sigmas("SD1", 10, 1.0)[0] == pytest.approx(14.615)
    high, low = nodes.split_sigmas.function(context, karras, 2)
    assert high[-1] == low[0]
    assert nodes.flip_sigmas.function(context, karras)[0] == 0.0001


def test_shares_of_the_sampling() -> None:
    known = {0.1: 8.30717, 0.5: 1.61558, 0.75: 0.69515, 0.999: 0.0413, 1.0: 0.0}
    for share, sigma in known.items():
        assert percent_sigma(SD.schedule, share) == pytest.approx(sigma, rel=1e-5)
    assert percent_sigma(SD.schedule, 0.0) > 1e9 - 1
