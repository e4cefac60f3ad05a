"""Which evaluations of a plan are cached, and the weights of a forecast."""

from __future__ import annotations

import numpy as np
import pytest

from overpaint.errors import InputError
from overpaint.runtime.sampling.caching import Caching, computed, draws_between, parse_caching, segments, weights
from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.levels import ModelSchedule
from overpaint.runtime.sampling.passes import join
from overpaint.runtime.sampling.plan import Plan


def plan(sampler: str = "ddim", steps: int = 10) -> Plan:
    return compile_plan(ModelSchedule(), sampler=sampler, steps=steps)


def test_what_a_text_means() -> None:
    assert parse_caching("forecast") == Caching("forecast", 2)
    assert parse_caching("deep:5") == Caching("deep", 5)


@pytest.mark.parametrize("text", ["", "forecast:", "forecast:1", "forecast:11", "forecast:2.5", "forecast:-2", ":3"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_caching(text)
    assert caught.value.field == "cache"


def test_a_slip_is_corrected() -> None:
    with pytest.raises(InputError, match="did you mean 'forecast'"):
        parse_caching("forcast:3")


def test_the_first_two_and_the_last_are_computed_and_every_third() -> None:
    assert np.flatnonzero(computed(plan(), Caching("forecast", 3))).tolist() == [0, 1, 4, 7, 9]
    assert np.flatnonzero(computed(plan(), Caching("forecast", 2))).tolist() == [0, 1, 3, 5, 7, 9]


def test_of_deep_features_the_first_and_every_third_are_whole() -> None:
    assert np.flatnonzero(computed(plan(), Caching("deep", 3))).tolist() == [0, 3, 6, 9]
    with pytest.raises(InputError, match="the first is always computed"):
        computed(plan(steps=1), Caching("deep", 3))


def test_every_pass_begins_anew() -> None:
    both = join([plan(steps=6), plan(steps=5)])
    assert [list(part) for part in segments(both)] == [list(range(6)), list(range(6, 11))]
    assert np.flatnonzero(computed(both, Caching("forecast", 4))).tolist() == [0, 1, 5, 6, 7, 10]


def test_a_sampler_that_goes_back_begins_anew() -> None:
    back = plan("restart", 20)
    assert len(segments(back)) > 1
    assert all((np.diff(back.sigmas[list(part)]) <= 0).all() for part in segments(back))


def test_too_few_evaluations_are_refused() -> None:
    with pytest.raises(InputError, match="3 evaluations are too few"):
        computed(plan(steps=3), Caching("forecast", 2))


def test_noise_between_passes_is_none_within_them() -> None:
    assert draws_between(plan("euler_a"))
    assert not draws_between(plan())
    assert not draws_between(join([plan(), plan()]))


def test_weights_are_exact_for_parabolas() -> None:
    nodes = np.array([900.0, 700.0, 650.0])
    for power in range(3):
        assert np.dot(weights(nodes, 600.0), nodes**power) == pytest.approx(600.0**power)
    assert weights(nodes[:1], 3.0).tolist() == [1.0]
    assert weights(nodes, 700.0).tolist() == [0.0, 1.0, 0.0]
