"""The table of options agrees with what uses it: dataclasses, checks, axes, presets."""

import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import fields, replace
from typing import Any, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overpaint import Control, ImagePrompt, InputError, Request
from overpaint.runtime.imaging.picture import Picture
from overpaint.runtime.imaging.soft import Soft
from overpaint.runtime.provenance.frozen import freeze, thaw
from overpaint.runtime.provenance.infotext_rules import COMMON, OF_VERB, SAMPLING
from overpaint.runtime.requests import checks
from overpaint.runtime.requests.option import AFFECTS, TOOLS, Option
from overpaint.runtime.requests.options import SECTIONS, TABLE, aliases, fields_of, fixed_on_resume, of_tool, offered
from overpaint.runtime.requests.presets import PRESETS
from overpaint.runtime.requests.sections import Adapters, Canvas, Micro, Noise, Prompting, Sampling
from overpaint.runtime.requests.typed import Img2ImgOptions, InpaintOptions, OutpaintOptions, UpscaleOptions
from overpaint.runtime.tools.inpainting import Inpainting
from overpaint.runtime.tools.outpainting import Outpainting
from overpaint.runtime.tools.upscaling import Upscaling

PICTURE = Picture(np.zeros((16, 16, 3), np.uint8))
OWNERS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "request": (Request, {"image": PICTURE}),
    "inpainting": (Inpainting, {"levels": "soft"}),
    "outpainting": (Outpainting, {"left": 8}),
    "upscaling": (Upscaling, {}),
}
ROWS = [(kind, option) for kind in OWNERS for option in fields_of(kind).values()]
# What a field needs beside it.
BESIDE = {
    "window_overlap": {"window": 16384},
    "threshold_percentile": {"mimic_scale": 3.0},
    "control_weight": {"controls": (Control("edges"),)},
    "image_weight": {"image_prompts": (ImagePrompt(PICTURE),)},
    "variation_strength": {"variation_seed": 1},
    "padding": {"method": "tiles"},
    "mask_blur": {"method": "tiles"},
}


def made(kind: str, option: Option, value: Any) -> Any:
    owner, needed = OWNERS[kind]
    beside = BESIDE.get(option.name, {}) if kind in ("request", "upscaling") else {}
    return owner(**{**needed, **beside, option.name: (value,) if option.kind == "numbers" else value})


def numbers(least_or_most: str) -> list[Any]:
    kinds = ("number", "whole", "numbers", "blur")
    rows = [(kind, row) for kind, row in ROWS if row.kind in kinds and abs(getattr(row, least_or_most)) < float("inf")]
    return [pytest.param(kind, row, id=f"{kind}.{row.name}") for kind, row in rows]


# Ends that other fields have something against.
REFUSED = (
    ("passes", "least"), ("window_overlap", "most"), ("soft_preservation", "least"), ("seam_fix_strength", "least"),
    ("left", "least"),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "row"), numbers("least"))
def test_the_least_is_taken_and_less_is_not(kind: str, row: Option) -> None:
    _check_end(kind, row, "least", -1)


@pytest.mark.parametrize(("kind", "row"), numbers("most"))
def test_the_most_is_taken_and_more_is_not(kind: str, row: Option) -> None:
    _check_end(kind, row, "most", 1)


def _check_end(kind: str, row: Option, end: str, beyond: int) -> None:
    value = getattr(row, end)
    whole = row.kind == "whole"
    if (row.name, end) not in REFUSED:
        used = getattr(made(kind, row, int(value) if whole else float(value)), row.name)
        assert used == ((value,) if row.kind == "numbers" else value)
    with pytest.raises(InputError) as raised:
        made(kind, row, int(value) + beyond if whole else value + beyond * 0.01)
    assert raised.value.field == row.name


@pytest.mark.parametrize(
    ("kind", "row"), [pytest.param(kind, row, id=f"{kind}.{row.name}") for kind, row in ROWS if row.kind == "name"]
)
def test_its_choices_are_taken_and_no_others(kind: str, row: Option) -> None:
    assert [checks.option(row, value) for value in row.choices] == list(row.choices)
    with pytest.raises(InputError, match="unknown") as raised:
        made(kind, row, "nonsense")
    assert raised.value.field == row.name


@pytest.mark.parametrize(
    ("name", "value"),
    [("through_pixels", 1), ("sampler", "eulr"), ("schedule", "karas"), ("seed", -2), ("prompt", 3), ("size", 64),
     ("seed_resize_from", (64, 0)), ("origin", (1,)), ("pass_prompts", (3,)), ("passes", (0,)), ("image", "fox.png"),
     ("resize_mode", "crop"), ("window_overlap", 8), ("drift_correction", True)],
)  # fmt: skip
def test_an_error_names_its_option(name: str, value: Any) -> None:
    with pytest.raises(InputError) as raised:
        Request(**{"image": PICTURE, name: value})
    assert raised.value.field == name


SINGLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
VALUES = (
    SINGLE | st.lists(SINGLE, max_size=3) | st.lists(SINGLE, max_size=3).map(tuple) | st.just({}) | st.just(PICTURE)
)


@pytest.mark.parametrize(("kind", "row"), [pytest.param(kind, row, id=f"{kind}.{row.name}") for kind, row in ROWS])
@given(value=VALUES)
@settings(max_examples=40, deadline=None)
def test_any_value_is_taken_or_refused_by_name(kind: str, row: Option, value: Any) -> None:
    owner, needed = OWNERS[kind]
    try:
        owner(**{**needed, row.name: value})
    except InputError as error:
        assert error.field in fields_of(kind)  # noqa: PT017


def test_lists_become_tuples_as_json_has_none() -> None:
    request = Request(PICTURE, passes=[0.5, 0.3], size=[32, 32])  # type: ignore[arg-type]
    assert request == Request(PICTURE, passes=(0.5, 0.3), size=(32, 32))
    assert Outpainting(left=8, colour=[1, 2, 3]).colour == (1, 2, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", OWNERS)
def test_every_field_has_a_row_and_its_default(kind: str) -> None:
    owner, _ = OWNERS[kind]
    own = {field.name: field.default for field in fields(owner) if field.name != "image"}
    assert own == {name: row.default for name, row in fields_of(kind).items()}


def test_a_tool_has_an_option_once() -> None:
    counted = Counter((tool, option.name) for option in TABLE for tool in option.tools)
    assert set(counted.values()) == {1}
    assert {tool for tool, _ in counted} == set(TOOLS)


def test_every_row_says_what_it_is_and_what_it_alters() -> None:
    assert all(option.help and option.affects in AFFECTS for option in TABLE)
    assert set(SECTIONS) >= {"sampling", "prompting", "noise", "canvas"}


def test_presets_have_options_that_there_are() -> None:
    for preset in PRESETS.values():
        for command in preset.commands:
            known = of_tool(command if command in TOOLS else "img2img")
            assert preset.options.keys() <= known.keys(), (preset.name, command)


def test_an_infotext_asks_for_options_that_there_are() -> None:
    for tool in TOOLS:
        rules = {**COMMON, **OF_VERB.get(tool, {})}
        assert {option for option, _ in rules.values()} <= of_tool(tool).keys()
    assert set(SAMPLING.values()) <= of_tool("img2img").keys()


def test_the_sliders_of_soft_inpainting_are_those_of_the_table() -> None:
    for field in fields(Soft):
        row = fields_of("inpainting")[f"soft_{field.name}"]
        assert field.default == row.default
        for value, beyond in ((row.least, -0.01), (row.most, 0.01)):
            assert getattr(Soft(**{field.name: value}), field.name) == value
            with pytest.raises(InputError):
                Soft(**{field.name: value + beyond})


def test_what_a_resume_cannot_change() -> None:
    fixed = fixed_on_resume()
    assert {"image", "seed", "noise", "size", "inpaint_mask", "window", "drift_correction"} <= set(fixed)
    assert not {"prompt", "guidance_scale", "strength", "colour_match", "regions"} & set(fixed)


def test_the_table_imports_no_numpy() -> None:
    code = "import sys, overpaint.runtime.requests.options; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


class TestSections:
    def test_fields_are_in_one_section_each(self) -> None:
        names = [field.name for kind in (Prompting, Adapters, Sampling, Noise, Canvas, Micro) for field in fields(kind)]
        assert sorted(names) == sorted(field.name for field in fields(Request) if field.name != "image")

    def test_a_request_has_its_sections(self) -> None:
        request = Request(PICTURE, "fox", steps=7, noise="field", size=(32, 32), clip_skip=1)
        assert request.sampling == Sampling(steps=7)
        assert request.prompting == Prompting("fox", clip_skip=1)
        assert request.noising == Noise(noise="field")
        assert request.canvas == Canvas(size=(32, 32))
        assert request.canvas.fit_mode == "crop"
        assert request.micro == Micro()

    def test_a_replaced_field_is_in_its_section(self) -> None:
        request = Request(PICTURE, steps=7)
        assert request.sampling.steps == 7
        assert replace(request, steps=3).sampling.steps == 3

    def test_a_section_checks_its_own_fields(self) -> None:
        with pytest.raises(InputError, match="steps must be"):
            Sampling(steps=0)
        with pytest.raises(InputError, match="needs a size"):
            Canvas(resize_mode="crop")
        with pytest.raises(InputError, match="needs a variation seed"):
            Noise(variation_strength=0.5)
        with pytest.raises(InputError, match="given twice"):
            Prompting("fox", prompts=((0.0, "cat"),))

    def test_a_request_is_the_same_after_a_pickle_and_a_record(self) -> None:
        request = Request(PICTURE, "fox", steps=7, passes=(0.5, 0.3))
        assert request.sampling.passes == (0.5, 0.3)
        assert fields_alike(pickle.loads(pickle.dumps(request)), request)
        assert thaw(freeze(request), lambda reference: PICTURE) == request


def fields_alike(one: Request, other: Request) -> bool:
    return all(
        getattr(one, field.name) == getattr(other, field.name) for field in fields(Request) if field.name != "image"
    )


@pytest.mark.parametrize("verb", TOOLS)
def test_what_a_verb_offers_has_a_type_there(verb: str) -> None:
    typed = {
        "img2img": Img2ImgOptions,
        "inpaint": InpaintOptions,
        "outpaint": OutpaintOptions,
        "upscale": UpscaleOptions,
    }
    assert offered(verb) == get_type_hints(typed[verb]).keys() - aliases().keys() | {"timeout", "on_step"}
