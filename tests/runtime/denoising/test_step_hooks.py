"""What is kept between lines: blended, softly, and for a share of the steps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import overpaint
from overpaint.errors import InputError
from overpaint.runtime.denoising.step_hooks import Keep
from overpaint.runtime.imaging.mask import to_latents
from overpaint.runtime.requests.places import InpaintMask
from overpaint.runtime.requests.request import Request
from overpaint.runtime.sampling.plan import Plan

SHAPE = (4, 2, 3)
CLEAN, NOISE, LATENTS = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
LEVELS = np.array([[0.0, 0.25, 0.5], [0.75, 0.9, 1.0]], np.float32)


@pytest.fixture
def plan(fake: overpaint.Pipeline) -> Plan:
    picture = overpaint.read(np.zeros((16, 16, 3), np.uint8))
    return fake.plan(Request(picture, steps=8, strength=1.0, sampler="ddim"))


def test_what_is_kept_is_as_noisy_as_the_rest(plan: Plan) -> None:
    keep = Keep(plan, CLEAN, NOISE, np.zeros((2, 3), np.float32))
    for line, (clean, noise) in enumerate(plan.noised):
        np.testing.assert_allclose(
            keep(line, LATENTS, LATENTS, None), clean * CLEAN + noise * NOISE, rtol=1e-5, atol=1e-6
        )
    assert np.array_equal(keep(len(plan) - 1, LATENTS, LATENTS, None), CLEAN)


def test_softness_keeps_less_and_less_of_what_lies_between(plan: Plan) -> None:
    keep = Keep(plan, np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.float32), LEVELS, soft=0.5)
    shares = np.stack([keep(line, np.ones(SHAPE, np.float32), LATENTS, None)[0] for line in range(len(plan))])
    assert (shares[:, 0, 0] == 0).all()
    assert (shares[:, 1, 2] == 1).all()
    assert (np.diff(shares, axis=0) >= 0).all()
    np.testing.assert_allclose(shares[-1], LEVELS ** (0.5 * plan.sigmas[-1]), rtol=1e-5)


def test_strengths_free_a_position_for_its_share_of_the_steps(plan: Plan) -> None:
    keep = Keep(plan, np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.float32), LEVELS, differential=True)
    free = np.stack([keep(line, np.ones(SHAPE, np.float32), LATENTS, None)[0] for line in range(len(plan))])
    np.testing.assert_array_equal(free.sum(axis=0), np.ceil(LEVELS * len(plan)))
    assert (np.diff(free, axis=0) >= 0).all()


def test_softness_and_strengths_are_not_both() -> None:
    with pytest.raises(InputError, match="not both"):
        InpaintMask(np.zeros((8, 8), np.uint8), differential=True, soft=0.5)
    with pytest.raises(InputError, match="soft must be"):
        InpaintMask(np.zeros((8, 8), np.uint8), soft=-1.0)


@given(st.integers(0, 31), st.integers(0, 31))
def test_a_covering_mask_misses_no_pixel(y: int, x: int) -> None:
    levels = np.zeros((32, 32), np.uint8)
    levels[y, x] = 200
    latents = to_latents(levels, 8, "cover")
    assert (latents.sum(), latents[y // 8, x // 8]) == (1, 1)
