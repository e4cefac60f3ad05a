"""Flow-matching schedules and runs that several tests share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from overpaint.runtime.sampling.flow import FlowSchedule

FLUX = FlowSchedule(shift=3.0, use_dynamic_shifting=True, timestep_spacing="trailing")
SD3 = FlowSchedule(shift=3.0)
RNG = np.random.default_rng(3)
CLEAN, NOISE = RNG.standard_normal((2, 4, 6, 8)).astype(np.float32)
SHAPES = [(1, 16, 32, 32), (1, 16, 128, 96)]
"""Of latents."""


def toy(x: np.ndarray, timestep: float) -> np.ndarray:
    """A velocity that depends on all its inputs."""
    return np.tanh(1.3 * x + 0.2) - 0.5 * x * timestep / 1000


def timeless(x: np.ndarray, timestep: float) -> np.ndarray:
    """A velocity of x alone: some schedulers of diffusers tell the model a truncated timestep."""
    return np.tanh(1.3 * x + 0.2) - 0.3 * x


def noises(fresh: np.ndarray | None = None) -> Iterator[np.ndarray]:
    yield NOISE
    yield from itertools.repeat(np.zeros_like(CLEAN) if fresh is None else fresh)
