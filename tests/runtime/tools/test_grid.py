"""Grids of parameters: their axes, their cells, and the sheet."""

import numpy as np
import pytest
from PIL import Image

import overpaint
from overpaint import InputError, Pipeline
from overpaint.bundles.tensor import Array
from overpaint.runtime.imaging.metadata import parse_parameters
from overpaint.runtime.requests.request import Request
from overpaint.runtime.tools.grid import AXES, Axis, Grid, axis, thumbnail


def test_every_axis_is_a_field_of_the_request() -> None:
    assert set(AXES) <= set(Request.__dataclass_fields__)


def test_values_have_the_fields_kind() -> None:
    assert axis("strength", "0.3, 0.5").values == (0.3, 0.5)
    assert axis("steps", "10,20").values == (10, 20)
    assert axis("sampler", "ddim, DPM++ 2M Karras").values == ("ddim", "DPM++ 2M Karras")
    assert axis("replace", "fox=>cat, dog").values == ("fox", "cat", "dog")
    assert axis("replace", "fox=>fox,cat").values == ("fox", "cat")


@pytest.mark.parametrize(
    ("name", "text", "cause"),
    [
        ("strength", "0.3,high", "give numbers with commas"),
        ("steps", "10,2.5", "give whole numbers"),
        ("steps", "10,10", "a value twice"),
        ("strenght", "0.3", "did you mean 'strength'"),
        ("image", "a,b", "unknown axis"),
        ("replace", "fox,cat", "write fox=>cat"),
        ("replace", "=>cat", "write fox=>cat"),
    ],
)
def test_axes_that_cannot_be(name: str, text: str, cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        axis(name, text)


@pytest.mark.parametrize(
    ("axes", "cause"),
    [
        ((), "one to 3 axes, not 0"),
        ((Axis("steps", (1, 2)), Axis("steps", (3, 4))), "given twice"),
        (tuple(Axis(name, (1, 2)) for name in ("steps", "seed", "eta", "strength")), "one to 3 axes, not 4"),
    ],
)
def test_grids_that_cannot_be(axes: tuple[Axis, ...], cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        Grid(axes)


def test_cells_go_along_the_first_axis_fastest_and_share_a_seed(picture: Array) -> None:
    grid = Grid.of({"denoising_strength": (0.3, 0.5), "sampler": ("ddim", "euler"), "replace": ("fox", "cat")})
    asked = grid.requests(overpaint.read(picture), "a fox", "no fox", {"seed": 9})
    assert len(asked) == len(grid) == 8
    assert [(r.strength, r.sampler, r.prompt) for r in asked[:3]] == [
        (0.3, "ddim", "a fox"),
        (0.5, "ddim", "a fox"),
        (0.3, "euler", "a fox"),
    ]
    assert (asked[7].strength, asked[7].prompt, asked[7].negative_prompt) == (0.5, "a cat", "no cat")
    assert {request.seed for request in asked} == {9}


def test_what_is_to_be_replaced_has_to_be_there(picture: Array) -> None:
    with pytest.raises(InputError, match="'fox' is not in the prompt"):
        Grid.of({"replace": ("fox", "cat")}).requests(overpaint.read(picture), "a dog", "", {})


def test_a_value_that_no_request_takes_names_it(picture: Array) -> None:
    with pytest.raises(InputError, match="did you mean 'euler'"):
        Grid.of({"sampler": ("ddim", "eulr")}).requests(overpaint.read(picture), "a", "", {})


def test_only_what_changes_is_computed_anew(fake: Pipeline, picture: Array) -> None:
    asked = Grid.of({"strength": (0.3, 0.5, 0.7), "sampler": ("ddim", "euler")}).requests(
        overpaint.read(picture), "a", "b", {"steps": 4}
    )
    run = fake.run(asked)
    assert list(run)
    assert run.result().cached["encode"] == len(asked) - 1
    assert run.result().cached["text"] == 2 * (len(asked) - 1)


def test_the_sheet_has_a_row_a_value_and_every_picture() -> None:
    colours = np.arange(12, dtype=np.uint8) * 20
    images = [Image.new("RGB", (64, 64), (int(colour), 0, 255)) for colour in colours]
    grid = Grid.of({"strength": (0.1, 0.2, 0.3), "sampler": ("a", "b"), "replace": ("fox", "cat")})
    sheet = np.asarray(grid.sheet(images, "fox", 64))
    tops, lefts = zip(
        *(np.argwhere((sheet == (colour, 0, 255)).all(axis=2)).min(axis=0) for colour in colours), strict=True
    )
    assert list(tops) == sorted(tops)
    assert len(set(tops)) == 4
    assert len(set(lefts)) == 3
    assert Grid.of({"seed": (1, 2)}).sheet(images[:2], "", 64).width < sheet.shape[1]


def test_the_parameters_are_the_first_cells_with_the_axes() -> None:
    grid = Grid.of({"strength": (0.3, 0.5), "sampler": ("ddim", "euler")})
    parsed = parse_parameters(grid.parameters("fox\nSteps: 4, Sampler: DDIM, Seed: 1, RNG: CPU"))
    assert (parsed.prompt, parsed.steps) == ("fox", 4)
    assert dict(parsed.extra) == {
        "RNG": "CPU", "X Type": "strength", "X Values": "0.3, 0.5", "Y Type": "sampler", "Y Values": "ddim, euler",
    }  # fmt: skip


def test_the_pipeline_draws_one(fake: Pipeline, picture: Array) -> None:
    sheet = fake.grid(picture, "a", {"strength": (0.3, 0.5), "seed": (1, 2)}, steps=4)
    assert sheet.width > 2 * 256
    with pytest.raises(InputError, match="unknown axis"):
        fake.grid(picture, "a", {"image": (1, 2)})


def test_a_drawn_seed_is_that_of_all_cells(fake: Pipeline, picture: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = iter(range(5, 100))
    monkeypatch.setattr("secrets.randbelow", lambda most: next(seeds))
    strengths = {"strength": (0.3, 0.5)}
    drawn = fake.grid(picture, "a", strengths, steps=4, seed=-1, convention=None)
    assert drawn.tobytes() == fake.grid(picture, "a", strengths, steps=4, seed=5).tobytes()
    assert drawn.tobytes() != fake.grid(picture, "a", strengths, steps=4, seed=6).tobytes()


def test_too_large_a_sheet_and_small_cells() -> None:
    grid = Grid.of({"seed": tuple(range(100)), "steps": tuple(range(1, 101))})
    grid.check(128)
    with pytest.raises(InputError, match="make the cells smaller"):
        grid.check(256)
    assert thumbnail(Image.new("RGB", (1000, 500)), 256).size == (256, 128)
    assert thumbnail(Image.new("RGB", (64, 64)), 256).size == (64, 64)
