"""Bad requests are refused with the cause and the mend; good ones are spread over a batch."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overpaint import InputError, Request
from overpaint.runtime.imaging.picture import Picture
from overpaint.runtime.requests.expand import expand

PICTURE = Picture(np.zeros((16, 16, 3), np.uint8))


@pytest.mark.parametrize(
    ("field", "value", "cause"),
    [
        *(("strength", value, "strength must be") for value in (-0.1, 1.1, math.nan, math.inf, "1", True)),
        *(("guidance_scale", value, "guidance_scale must be") for value in (-1, 101, math.nan)),
        *(("guidance_rescale", value, "guidance_rescale must be") for value in (-1, 2, math.nan)),
        *(("steps", value, "steps must be") for value in (0, -1, 1001, 2.5, math.nan, True)),
        *(("clip_skip", value, "clip_skip must be") for value in (-1, 1.5)),
        *(("seed", value, "seed") for value in (-2, 2**64, 1.5, True)),
        ("prompt", 3, "prompt must be text"),
        ("prompt", "\udcff", "no Unicode"),
        ("eta", "x", "eta must be"),
        ("size", 64, "size must be"),
        ("size", (64, 0), "height must be"),
        ("noise", 3, "unknown noise"),
        ("convention", None, "unknown strength convention"),
        ("resize_mode", "crop", "needs a size"),
        ("image", "fox.png", "overpaint.read"),
        ("negative_prompt", None, "negative_prompt must be text"),
        ("convention", "contrat", "did you mean 'contract'"),
        ("noise", "gpus", "did you mean 'gpu'"),
        ("posterior", "mod", "did you mean 'mode'"),
        ("resize_mode", "corp", "did you mean 'crop'"),
    ],
)
def test_a_field_out_of_range(field: str, value: Any, cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        Request(**{"image": PICTURE, field: value})


def test_a_size_without_a_way_to_reach_it() -> None:
    with pytest.raises(InputError, match="resize mode"):
        Request(PICTURE, size=(64, 64), resize_mode="none")


def test_numpy_numbers_are_numbers() -> None:
    assert Request(PICTURE, strength=np.float32(0.5), steps=np.int64(4)).steps == 4


@given(pictures=st.integers(1, 4), n=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_a_batch_has_every_picture_n_times_and_a_seed_each(pictures: int, n: int, seed: int) -> None:
    prompts = [f"p{index}" for index in range(pictures)]
    requests = expand([PICTURE] * pictures, prompts, [""], seed, n, {})
    assert [request.prompt for request in requests] == [prompt for prompt in prompts for _ in range(n)]
    assert [request.seed for request in requests] == list(range(seed, seed + pictures * n))


def test_options_by_the_names_diffusers_has() -> None:
    (request,) = expand([PICTURE], ["a"], [""], 1, 1, {"num_inference_steps": 3, "guidance_scale": 2.0})
    assert (request.steps, request.guidance_scale) == (3, 2.0)


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (([PICTURE] * 2, ["a"] * 3, [""], 1, 1, {}), "2 images in a batch of 3"),
        (([PICTURE] * 2, ["a"], [""], [1], 1, {}), "1 seed for 2 images"),
        (([PICTURE], ["a"], [""], 1, 0, {}), "n must be"),
        (([PICTURE], ["a"], [""], 1, 1, {"strenght": 1}), "did you mean 'strength'"),
        (([PICTURE], ["a"], [""], 1, 1, {"generator": 1}), "called 'seed' here"),
        (([PICTURE], ["a"], [""], 1, 1, {"negativ_prompt": ""}), "did you mean 'negative_prompt'"),
        (([PICTURE], ["a"], [""], 1, 1, {"steps": 3, "num_inference_steps": 3}), "steps"),
        (([], ["a"], [""], 1, 1, {}), "no image"),
        (([PICTURE], ["a"], [""], 2**64 - 1, 2, {}), "seed"),
    ],
)
def test_a_batch_that_does_not_fit(arguments: tuple[Any, ...], cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        expand(*arguments)
