"""Names that people bring from diffusers, A1111 and ComfyUI."""

import re

import pytest

from overpaint.errors import InputError
from overpaint.runtime.sampling.levels import SPACINGS
from overpaint.runtime.sampling.names import SCHEDULES, a1111_labels, find_sampler, find_schedule, resolve
from overpaint.runtime.sampling.samplers import SAMPLERS
from overpaint.runtime.sampling.schedules import SIGMA_SCHEDULES


@pytest.mark.parametrize(
    ("name", "sampler", "schedule"),
    [
        ("Euler a", "euler_a", None),
        ("k_euler", "euler", None),
        ("k_euler_a", "euler_a", None),
        ("euler_ancestral", "euler_a", None),
        ("EulerDiscreteScheduler", "euler", None),
        ("EulerAncestralDiscreteScheduler", "euler_a", None),
        ("DPM++ 2M", "dpmpp_2m", None),
        ("DPM++ 2M Karras", "dpmpp_2m", "karras"),
        ("DPM++ 2M SDE", "dpmpp_2m_sde", None),
        ("DPM++ 2M SDE Exponential", "dpmpp_2m_sde", "exponential"),
        ("DPM++ 3M SDE Karras", "dpmpp_3m_sde", "karras"),
        ("DPM++ SDE Karras", "dpmpp_sde", "karras"),
        ("dpmpp_sde_gpu", "dpmpp_sde", None),
        ("DPMSolverMultistepScheduler", "dpmpp_2m", None),
        ("DPM2 a Karras", "dpm2_a", "karras"),
        ("dpm_2_ancestral", "dpm2_a", None),
        ("LMS Karras", "lms", "karras"),
        ("PLMS", "plms", None),
        ("PNDMScheduler", "plms", None),
        ("UniPC", "unipc", None),
        ("uni_pc_bh2", "unipc_bh2", None),
        ("DDIM", "ddim", None),
        ("LCM SGM Uniform", "lcm", "sgm_uniform"),
    ],
)
def test_samplers(name: str, sampler: str, schedule: str | None) -> None:
    assert resolve(name, None) == (sampler, schedule)


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("Karras", "karras"),
        ("use_karras_sigmas", "karras"),
        ("SGM Uniform", "sgm_uniform"),
        ("KL Optimal", "kl_optimal"),
        ("Align Your Steps", "align_your_steps"),
        ("Uniform", "normal"),
        ("DDIM", "ddim_uniform"),
        ("Polyexponential", "polyexponential"),
        ("Automatic", None),
        (None, None),
    ],
)
def test_schedules(name: str | None, schedule: str | None) -> None:
    assert find_schedule(name) == schedule


def test_own_names() -> None:
    assert all(resolve(name, None) == (name, None) for name in SAMPLERS)
    assert all(find_schedule(name) == name for name in SCHEDULES)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(InputError, match="'dpmpp_2m'"):
        resolve("dpmpp2n", None)
    with pytest.raises(InputError, match="'karras'"):
        find_schedule("karass")
    with pytest.raises(InputError, match="name one"):
        resolve("DPM++ 2M Karras", "exponential")
    assert resolve("DPM++ 2M Karras", "karras") == ("dpmpp_2m", "karras")


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("DPM++ 2M Karas", "'DPM++ 2M Karras'"),
        ("Euler ancestrel", "'Euler ancestral'"),
        ("EulerDiscreteSheduler", "'EulerDiscreteScheduler'"),
        ("DPM++ 2M SDE Exponental", "'DPM++ 2M SDE Exponential'"),
    ],
)
def test_names_of_others_are_suggested_as_they_are_spelled(name: str, suggested: str) -> None:
    with pytest.raises(InputError, match=f"mean {re.escape(suggested)}"):
        resolve(name, None)


def test_a_name_like_no_other_gets_the_list() -> None:
    with pytest.raises(InputError, match="choose one of: ddim, ddpm"):
        resolve("zzzzzz", None)
    with pytest.raises(InputError, match="choose one of: align_your_steps"):
        find_schedule("zzzzzz")


def test_what_is_no_name() -> None:
    with pytest.raises(InputError, match="sampler is 3"):
        find_sampler(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="schedule is 3"):
        find_schedule(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sampler", "schedule", "labels"),
    [
        ("euler_a", "karras", ("Euler a", "Karras")),
        ("dpmpp_2m_sde", "exponential", ("DPM++ 2M SDE", "Exponential")),
        ("ddim", "leading", ("DDIM", "Uniform")),
        ("dpmpp_2m", "linspace", ("DPM++ 2M", "Uniform")),
        ("ddim", "ddim_uniform", ("DDIM", "DDIM")),
        ("lcm", "distilled", ("LCM", "Automatic")),
        ("euler", "sigmas", ("Euler", "Automatic")),
        ("tcd", "sgm_uniform", ("tcd", "SGM Uniform")),
        ("heun", "align_your_steps_xl", ("Heun", "Align Your Steps")),
    ],
)
def test_labels_of_a1111(sampler: str, schedule: str, labels: tuple[str, str]) -> None:
    assert a1111_labels(sampler, schedule) == labels


def test_labels_of_a1111_are_read_back() -> None:
    for sampler in SAMPLERS:
        for schedule in (*SCHEDULES, "distilled", "timesteps", "sigmas"):
            label, type_label = a1111_labels(sampler, schedule)
            assert find_sampler(label) == (sampler, None)
            nearest = {"align_your_steps_xl": "align_your_steps"} | dict.fromkeys(
                (*SPACINGS, "linear_quadratic"), "normal"
            )
            own = schedule if schedule in SIGMA_SCHEDULES else None
            assert find_schedule(type_label) == nearest.get(schedule, own)
