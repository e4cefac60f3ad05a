"""Prompts as conditionings: what each row is told, what it counts, and where."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import overpaint
from overpaint import InputError, Pipeline, Region
from overpaint.runtime.requests.guidance import parse_prompts, shares, weighted_phrases

Pixels = NDArray[np.uint8]


def told(pipe: Pipeline, picture: Pixels, **options: Any) -> list[list[tuple[str, float]]]:
    """Of every evaluation the texts of its phrases and their weights."""
    options = {"guidance_scale": 3.0, "negative_prompt": "n", "steps": 4, "strength": 1.0} | options
    request = overpaint.Request(overpaint.read(picture), **options)
    made = weighted_phrases(request, parse_prompts(request), pipe.plan(request))
    return [[(str(each.phrase), each.weight) for each in those] for those in made]


def test_guidance_is_the_prompt_and_the_negative_prompt(fake: Pipeline, picture: Pixels) -> None:
    assert told(fake, picture, prompt="a") == [[("a", 3.0), ("n", -2.0)]] * 4


def test_without_guidance_there_is_no_negative_prompt(fake: Pipeline, picture: Pixels) -> None:
    assert told(fake, picture, prompt="a", guidance_scale=0.5) == [[("a", 1.0)]] * 4


def test_and_composes(fake: Pipeline, picture: Pixels) -> None:
    [(first, a), (second, b), (negative, rest)] = told(fake, picture, prompt="a AND b:0.5")[0]
    assert (first.strip(), a, second.strip(), b, negative) == ("a", 3.0, "b", 1.5, "n")
    assert rest == pytest.approx(1 - 4.5)


def test_a_composition_needs_the_rest_even_without_guidance(fake: Pipeline, picture: Pixels) -> None:
    line = told(fake, picture, prompt="a AND b", guidance_scale=1.0)[0]
    assert sum(weight for _, weight in line) == pytest.approx(1)
    assert line[-1] == ("n", -1.0)


def test_what_is_said_twice_is_evaluated_once(fake: Pipeline, picture: Pixels) -> None:
    [line, *_] = told(fake, picture, prompt="n")
    assert line == [("n", pytest.approx(1.0))]


def test_editing_goes_by_the_steps_that_run(fake: Pipeline, picture: Pixels) -> None:
    lines = told(fake, picture, prompt="[a:b:0.5]", steps=8, strength=0.5)
    assert [line[0][0] for line in lines] == ["a", "a", "b", "b"]


def test_editing_by_a1111_counts_the_whole_schedule(fake: Pipeline, picture: Pixels) -> None:
    lines = told(fake, picture, prompt="[a:b:0.5]", steps=8, strength=0.5, convention="a1111", sampler="euler")
    assert [line[0][0] for line in lines] == ["a"] * 5  # up to the fifth evaluation of eight
    lines = told(fake, picture, prompt="[a:b:0.4]", steps=8, strength=0.5, convention="a1111", sampler="euler")
    assert [line[0][0] for line in lines] == ["a"] * 4 + ["b"]


def test_prompts_by_steps(fake: Pipeline, picture: Pixels) -> None:
    lines = told(fake, picture, prompts=((0, "a"), (0.75, "b")))
    assert [line[0][0] for line in lines] == ["a", "a", "a", "b"]


def test_passes_have_prompts_of_their_own_and_begin_anew(fake: Pipeline, picture: Pixels) -> None:
    lines = told(fake, picture, passes=(1.0, 0.5), pass_prompts=("[a:b:0.5]", "[c:d:0.5]"))
    assert [line[0][0] for line in lines] == ["a", "a", "b", "b", "c", "d"]


def test_both_evaluations_of_a_step_are_told_the_same(fake: Pipeline, picture: Pixels) -> None:
    lines = told(fake, picture, prompt="[a:b:0.5]", sampler="heun")
    assert [line[0][0] for line in lines] == ["a"] * 4 + ["b"] * 3


def test_regions_share_the_prompt(fake: Pipeline, picture: Pixels) -> None:
    region = Region("b", np.zeros(picture.shape[:2], np.uint8))
    lines = told(fake, picture, prompt="a", regions=(region,))
    assert lines[0] == [("b", 3.0), ("a", 3.0), ("n", -2.0)]


def test_shares_sum_to_one() -> None:
    rng = np.random.default_rng(0)
    areas = shares([rng.random((5, 7)).astype(np.float32) for _ in range(3)])
    assert len(areas) == 4
    assert np.allclose(np.sum(areas, axis=0), 1)
    assert min(area.min() for area in areas) > -1e-6


def test_a_region_that_is_everything_is_the_prompt(fake: Pipeline, picture: Pixels) -> None:
    options = {"seed": 1, "steps": 3, "negative_prompt": "c"}
    everywhere = Region("b", np.full(picture.shape[:2], 255, np.uint8))
    ours = fake(picture, "a", regions=(everywhere,), **options).images[0]
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(fake(picture, "b", **options).images[0])).max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "(a"}, r"\^"),
        ({"negative_prompt": "a AND b"}, "AND composes prompts, not negative"),
        ({"prompts": ((0, "a"), (0.5, "(b"))}, r"\^"),
        ({"prompts": ((0.5, "a"),)}, "begin one at 0"),
        ({"prompt": "a", "prompts": ((0, "b"),)}, "given twice"),
        ({"passes": (0.5, 0.0)}, "strength 0 does nothing"),
        ({"passes": (0.5, 1.5)}, "a pass's strength must be a number from 0 to 1"),
        ({"passes": (0.5,), "pass_prompts": ("a", "b")}, "2 prompts for 1 pass;"),
        ({"prompt_syntax": "english"}, "unknown prompt syntax"),
        ({"weighting": "english"}, "unknown weighting"),
        ({"window": 32, "window_overlap": 32}, "cannot overlap by 32"),
        ({"window_overlap": 8}, "needs windows"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_anything_runs(
    fake: Pipeline, picture: Pixels, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fake.start(picture, **options)


def test_regions_weigh_as_much_as_the_prompt(fake: Pipeline, picture: Pixels) -> None:
    region = Region("b AND c", np.zeros(picture.shape[:2], np.uint8))
    with pytest.raises(InputError, match="sum to 2, 1; make the sums equal"):
        fake.start(picture, "a", regions=(region,))


def test_a_region_of_another_size_is_refused(fake: Pipeline, picture: Pixels) -> None:
    with pytest.raises(InputError, match="region 1 is 4x4, the picture is 56x40"):
        fake.start(picture, "a", regions=(Region("b", np.zeros((4, 4), np.uint8)),))
