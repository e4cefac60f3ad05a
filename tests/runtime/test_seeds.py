"""Where a run's noise begins: A1111's seed resize and its eta noise seed delta."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from overpaint import InputError, Pipeline
from overpaint.runtime.assemble import Assembly, Tally
from overpaint.runtime.job import Job
from overpaint.runtime.sampling.noise import noise_stream, slerp

Pixels = NDArray[np.uint8]


def job(pipe: Pipeline, picture: Pixels, **options: object) -> Job:
    """A job that begins with noise alone: strength 1 draws nothing for the picture."""
    [task] = pipe.start(picture, "a", **{"seed": 7, "strength": 1.0, "sampler": "euler_a", **options}).tasks
    return Assembly(pipe, task, Tally()).job()


def draw(seed: int, shape: tuple[int, ...], kind: str = "cpu") -> NDArray[np.float32]:
    return noise_stream(kind, seed)(shape)


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_ensd_draws_the_steps_noise_from_another_seed(fake: Pipeline, picture: Pixels, kind: str) -> None:
    plain, moved = (job(fake, picture, noise=kind, eta_noise_seed_delta=delta) for delta in (0, 31337))
    assert np.array_equal(plain.latents, moved.latents)
    shape = plain.latents.shape
    assert np.array_equal(moved._draw(), draw(7 + 31337, shape, kind))
    assert not np.array_equal(plain._draw(), draw(7 + 31337, shape, kind))


def test_ensd_stays_within_the_seeds(fake: Pipeline, picture: Pixels) -> None:
    made = job(fake, picture, seed=2**64 - 1, eta_noise_seed_delta=2)
    assert np.array_equal(made._draw(), draw(1, made.latents.shape))


@pytest.mark.parametrize("variation", [0.0, 0.3])
def test_seed_resize_puts_another_sizes_noise_in_the_middle(fake: Pipeline, picture: Pixels, variation: float) -> None:
    """The picture has 40 x 56 pixels, 4 of them a latent."""
    seeds = {"variation_seed": 9, "variation_strength": variation}
    made = job(fake, picture, seed_resize_from=(32, 48), **seeds)
    around = job(fake, picture).latents
    inner = draw(7, (4, 12, 8))
    if variation:
        inner = slerp(variation, inner, draw(9, (4, 12, 8)))
    scale = around[0, 0, 0] / draw(7, around.shape)[0, 0, 0]
    # 10 x 14 latents: higher than they are, 3 columns from the left.
    assert np.allclose(made.latents[:, :, 3:11] / scale, inner[:, 1:11], atol=1e-6)
    beyond = np.r_[0:3, 11:14]
    assert np.array_equal(made.latents[..., beyond], around[..., beyond])
    # The steps' noise goes on behind the whole draw.
    assert np.array_equal(made._draw(), job(fake, picture)._draw())


def test_the_same_size_changes_nothing(fake: Pipeline, picture: Pixels) -> None:
    assert np.array_equal(job(fake, picture, seed_resize_from=(56, 40)).latents, job(fake, picture).latents)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"seed_resize_from": (0, 8)}, "seed_resize_from's width"),
        ({"seed_resize_from": 64}, "seed_resize_from must be"),
        ({"seed_resize_from": (3, 64)}, "at least 4x4"),
        ({"eta_noise_seed_delta": 0.5}, "eta_noise_seed_delta"),
    ],
)
def test_what_cannot_be(fake: Pipeline, picture: Pixels, options: dict[str, object], cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        fake.start(picture, "a", **options)
