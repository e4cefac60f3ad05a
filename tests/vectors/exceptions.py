"""Where a picture is not the program's, each with its reason: what tests allow and what docs/parity.md says."""

from __future__ import annotations

from dataclasses import dataclass

from overpaint.runtime.conventions.convention import CONVENTIONS
from tests.vectors.toy import Vector


@dataclass(frozen=True)
class Allowed:
    """Cases of a program that may differ by this much, and why."""

    program: str
    reason: str
    samplers: frozenset[str] = frozenset()
    """By our names; empty for all."""
    schedules: frozenset[str] = frozenset()
    """By our names; empty for all."""
    steps: frozenset[int] = frozenset()
    """Empty for all."""
    latents: float = 1e-4
    times: float = 5e-3
    refused: bool = False
    """May we refuse the case with an error?"""

    def covers(self, program: str, sampler: str, schedule: str, vector: Vector) -> bool:
        """Is the case one of these?"""
        return (
            program == self.program
            and (not self.samplers or sampler in self.samplers)
            and (not self.schedules or schedule in self.schedules)
            and (not self.steps or vector.steps in self.steps)
        )


HALF_WAY = frozenset({"sgm_uniform", "normal", "beta", "linear_quadratic"})

HALF_WAY_REASON = "half-way between two timesteps float32's last bit decides which the model is given"

ALLOWED = (
    *(
        Allowed(
            program,
            "a Brownian motion is so rough that it shows where float32 rounds the program's sigmas",
            samplers=CONVENTIONS[program].brownian,
            latents=0.1,
            times=1.001 if program == "comfy" else 5e-3,
        )
        for program in ("a1111", "comfy")
    ),
    Allowed(
        "a1111",
        "runs no evaluation where strength and steps are small, and leaves the noise in the picture; refused here",
        samplers=frozenset({"ddim", "plms", "unipc"}),
        refused=True,
    ),
    Allowed(
        "a1111",
        "half-way between two of LCM's 50 levels float32's last bit decides which is evaluated",
        samplers=frozenset({"lcm"}),
        latents=0.02,
        times=21,
    ),
    *(
        Allowed(
            program,
            "the sigma that a step from the highest to the lowest goes down to is a difference of nearly equal numbers",
            samplers=frozenset({"dpm2_a", "dpmpp_2s_a"}),
            schedules=frozenset({"kl_optimal", "exponential", "polyexponential", "karras", "automatic"}),
            steps=frozenset({1, 2}),
            latents=1e-3,
            times=0.02,
        )
        for program in ("a1111", "comfy")
    ),
    Allowed(
        "comfy",
        "one step of UniPC is never taken, and the noise is left in the picture; here it is taken",
        samplers=frozenset({"unipc", "unipc_bh2"}),
        steps=frozenset({1}),
        latents=20.0,
    ),
    Allowed(
        "comfy",
        "its DEIS is of order 3 in sigma; overpaint's is that of diffusers",
        samplers=frozenset({"deis"}),
        latents=0.2,
        times=1.001,
    ),
    Allowed(
        "comfy",
        "UniPC's small systems of equations are solved in float32; half-way timesteps as below",
        samplers=frozenset({"unipc", "unipc_bh2"}),
        latents=2e-3,
        times=1.001,
    ),
    Allowed(
        "comfy",
        "where steps are tiny, or grow at once by many times, the weights multiply what float32 rounds",
        samplers=frozenset({"ipndm_v", "sa_solver", "sa_solver_pece"}),
        schedules=frozenset({"linear_quadratic"}),
        latents=1.2,
        times=1.001,
    ),
    Allowed(
        "comfy",
        "SA-Solver's small systems of equations are solved in float32; half-way timesteps as below",
        samplers=frozenset({"sa_solver", "sa_solver_pece"}),
        latents=1e-2,
        times=1.001,
    ),
    Allowed("comfy", HALF_WAY_REASON, samplers=frozenset({"seeds_3"}), latents=1e-2, times=1.001),
    Allowed(
        "comfy",
        HALF_WAY_REASON,
        schedules=HALF_WAY,
        latents=1e-2,
        times=1.001,
    ),
)


def allowed(program: str, sampler: str, schedule: str, vector: Vector) -> Allowed | None:
    """The exception that a case falls under, if any."""
    return next((one for one in ALLOWED if one.covers(program, sampler, schedule, vector)), None)
