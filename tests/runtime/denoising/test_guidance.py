"""Guidance bounded and guidance of its own: dynamic thresholding, and perturbed attention."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import overpaint
from overpaint import InputError, Pipeline, Region, Request
from overpaint.runtime.denoising.guidance import thresholded
from tests.support.bundles import fake_bundle
from tests.support.engines import Counting
from tests.support.painting import alone, painted

MASK = np.zeros((40, 56), np.uint8)
MASK[:, 32:] = 255
KINDS: dict[str, dict[str, Any]] = {
    "thresholded": {"mimic_scale": 3.0},
    "clipped": {"mimic_scale": 3.0, "threshold_percentile": 0.9},
    "rescaled too": {"mimic_scale": 3.0, "guidance_rescale": 0.7},
    "perturbed": {"perturbed_attention": 2.0},
    "perturbed alone": {"perturbed_attention": 2.0, "guidance_scale": 1.0},
    "both": {"perturbed_attention": 2.0, "mimic_scale": 3.0, "prompt": "a AND b:0.5"},
    "in an interval": {"perturbed_attention": 2.0, "mimic_scale": 3.0, "guidance_interval": (0.2, 0.7)},
    "regions": {"perturbed_attention": 2.0, "mimic_scale": 3.0, "regions": (Region("q", MASK),)},
    "windows": {"perturbed_attention": 2.0, "mimic_scale": 3.0, "window": 32},
    "forecast": {"perturbed_attention": 2.0, "mimic_scale": 3.0, "cache": "forecast:2", "sampler": "ddim"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_bundle(tmp_path_factory.mktemp("guided") / "bundle", perturbed=True).folder


@pytest.fixture
def guided(folder: Path) -> Pipeline:
    return overpaint.load(folder, engine="fake")


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_a_picture_does_not_depend_on_its_batch(
    guided: Pipeline, folder: Path, request_of: Request, kind: dict[str, Any]
) -> None:
    requests = [replace(request_of, **kind), request_of, replace(request_of, seed=5, mimic_scale=2.0)]
    tickets = [guided.model.scheduler.submit(request) for request in requests]
    guided.model.scheduler.drain()
    lone = overpaint.load(folder, engine="fake")
    for request, ticket in zip(requests, tickets, strict=True):
        assert np.array_equal(painted(ticket), alone(lone, request))
    assert not np.array_equal(painted(tickets[0]), painted(tickets[1]))


def test_off_alters_no_bit(guided: Pipeline, fake: Pipeline, request_of: Request) -> None:
    assert np.array_equal(alone(guided, request_of), alone(fake, request_of))
    assert np.array_equal(alone(guided, replace(request_of, perturbed_attention=0.0)), alone(fake, request_of))


def test_a_mimic_scale_that_is_the_scale_alters_nothing_but_roundings(fake: Pipeline, request_of: Request) -> None:
    plain = alone(fake, request_of)
    made = alone(fake, replace(request_of, mimic_scale=request_of.guidance_scale))
    assert np.abs(made.astype(int) - plain).max() <= 1


def test_without_guidance_there_is_nothing_to_threshold(fake: Pipeline, request_of: Request) -> None:
    plain = replace(request_of, guidance_scale=1.0)
    assert np.array_equal(alone(fake, replace(plain, mimic_scale=3.0)), alone(fake, plain))


def test_without_guidance_rows_of_other_kinds_keep_their_range(guided: Pipeline, request_of: Request) -> None:
    for kind in ({"perturbed_attention": 2.0}, {"prompt": "a AND b"}):
        plain = replace(request_of, guidance_scale=1.0, **kind)
        made = alone(guided, replace(plain, mimic_scale=0.5))
        assert np.abs(made.astype(int) - alone(guided, plain)).max() <= 1


def test_what_is_thresholded_has_the_range_of_less_guidance() -> None:
    random = np.random.default_rng(1)
    less, means = random.standard_normal((4, 9, 7)), random.standard_normal((4, 1, 1))
    guided = (3 * less + means).astype(np.float32)
    made = thresholded(guided, less.astype(np.float32), 1.0)
    assert made.dtype == np.float32
    centred = made - guided.mean((1, 2), keepdims=True)
    reach = np.abs(less - less.mean((1, 2), keepdims=True)).max((1, 2))
    assert np.allclose(np.abs(centred).max((1, 2)), reach, rtol=1e-4)
    assert np.allclose(centred, less - less.mean((1, 2), keepdims=True), atol=1e-4)


def test_few_values_beyond_the_percentile_are_clipped() -> None:
    guided = np.zeros((1, 10, 10), np.float32)
    guided[0, ::2], guided[0, 0, 0], guided[0, 1, 0] = 1, 50, -50
    less = guided.clip(-1, 1)
    made = thresholded(guided, less, 0.9)
    # Without the outliers the rest keeps its contrast; with them it has a fiftieth.
    assert np.ptp(made[0, 2:4]) > 10 * np.ptp(thresholded(guided, less, 1.0)[0, 2:4])


def test_what_is_flat_stays_so() -> None:
    flat = np.full((2, 4, 4), 3, np.float32)
    assert np.array_equal(thresholded(flat, flat, 0.99), flat)


def test_perturbed_attention_is_one_row_more(guided: Pipeline, request_of: Request) -> None:
    seen: list[Any] = []
    guided.denoiser.engine = engine = Counting(
        guided.denoiser.engine, lambda feeds: seen.append(feeds["perturbed"].tolist())
    )
    alone(guided, replace(request_of, perturbed_attention=2.0, steps=3))
    alone(guided, replace(request_of, perturbed_attention=2.0, guidance_scale=1.0, steps=3))
    assert engine.rows == [3] * 3 + [2] * 3
    assert sorted(seen[0]) == [0, 0, 1]
    assert sorted(seen[-1]) == [0, 1]


def test_a_model_without_the_input_is_refused(fake: Pipeline, request_of: Request) -> None:
    with pytest.raises(InputError, match="--adapters perturbed") as caught:
        fake.run([replace(request_of, perturbed_attention=2.0)])
    assert caught.value.field == "perturbed_attention"


@pytest.mark.parametrize(
    ("name", "value"), [("mimic_scale", -1), ("threshold_percentile", 1.5), ("perturbed_attention", float("nan"))]
)
def test_what_cannot_be_is_refused(request_of: Request, name: str, value: float) -> None:
    with pytest.raises(InputError) as caught:
        replace(request_of, **{name: value})
    assert caught.value.field == name
