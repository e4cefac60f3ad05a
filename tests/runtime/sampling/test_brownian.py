"""Brownian motions against torchsde's own, and what must hold of them by themselves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
import torchsde
from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler
from hypothesis import given, settings
from hypothesis import strategies as st

from overpaint.runtime.sampling.brownian import BrownianNoise, BrownianTree
from overpaint.runtime.sampling.noise import noise_stream

SHAPE = (4, 3, 5)
SIGMAS = np.geomspace(14.614642, 0.0291675, 12).astype(np.float32)


def torch_normals(seed: int) -> np.ndarray:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)).numpy()


def cpu(seed: int) -> object:
    return noise_stream("cpu", seed)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.sampled_from([0, 1, 42, 2**32 + 5, 2**63 - 1, 2**64 - 1]),
    times=st.lists(st.floats(0.03125, 14.5, width=32), min_size=2, max_size=6, unique=True),
)
def test_increments_are_torchsdes_to_the_bit(seed: int, times: list[float]) -> None:
    """In whatever order they are asked for."""
    low, high = float(SIGMAS[-1]), float(SIGMAS[0])
    theirs = torchsde.BrownianTree(low, torch.zeros(SHAPE), high, entropy=seed)
    ours = BrownianTree(torch_normals, seed, low, high)
    for pair in pairwise(times):
        start, end = sorted(pair)
        np.testing.assert_array_equal(ours(start, end), theirs(start, end).numpy())
    np.testing.assert_array_equal(ours(low, high), theirs(low, high).numpy())


@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_noise_is_k_diffusions(seed: int) -> None:
    """Its sampler stands in diffusers, too; with our own normals, which are torch's but for the last bits."""
    theirs = BrownianTreeNoiseSampler(torch.zeros(SHAPE), torch.tensor(SIGMAS[-1]), torch.tensor(SIGMAS[0]), seed)
    ours, span = BrownianNoise(cpu, seed), SIGMAS[[0, -1]].astype(np.float64)
    for high, low in pairwise(SIGMAS):
        expected = theirs(torch.tensor(high), torch.tensor(low)).numpy()
        drawn = ours(SHAPE, np.array([high, low], np.float64), span)
        assert drawn.dtype == np.float32
        np.testing.assert_allclose(drawn, expected, rtol=0, atol=1e-5)


def test_beyond_the_ends_nothing_moves() -> None:
    tree = BrownianTree(torch_normals, 3, 0.5, 2.0)
    np.testing.assert_array_equal(tree(0.1, 3.0), tree(0.5, 2.0))
    assert not tree(2.5, 3.0).any()
    assert not tree(1.0, 1.0).any()


@pytest.mark.parametrize("kind", ["cpu", "gpu", "field"])
def test_noise_is_unit_normal_and_of_one_motion(kind: str) -> None:
    """A step's noise contains that of its halves, and steps apart are independent."""
    noise, shape, span = BrownianNoise(lambda seed: noise_stream(kind, seed), 5), (4, 64, 64), np.array([8.0, 0.5])
    whole, first, second = (noise(shape, np.array(pair), span) for pair in ((4.0, 1.0), (4.0, 3.0), (3.0, 1.0)))
    np.testing.assert_allclose(whole, first * np.sqrt(1 / 3) + second * np.sqrt(2 / 3), atol=1e-5)
    for drawn in (whole, first, second):
        assert abs(drawn.mean()) < 0.03
        assert abs(drawn.std() - 1) < 0.03
    assert abs((first * second).mean()) < 0.03


def test_field_noise_is_that_of_the_place() -> None:
    """So tiles of one picture share its motion."""
    whole = BrownianNoise(lambda seed: noise_stream("field", seed), 5)
    part = BrownianNoise(lambda seed: noise_stream("field", seed, origin=(2, 3)), 5)
    step, span = np.array([3.0, 1.0]), np.array([8.0, 0.5])
    np.testing.assert_array_equal(part((4, 5, 6), step, span), whole((4, 16, 16), step, span)[:, 2:7, 3:9])
