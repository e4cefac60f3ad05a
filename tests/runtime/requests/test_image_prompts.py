"""Image prompts of requests: what is refused, and which count where."""

import math
from typing import Any

import numpy as np
import pytest

from overpaint import ImagePrompt, InputError, Request
from overpaint.runtime.imaging.picture import Picture
from overpaint.runtime.model.image_blocks import layer_weights
from overpaint.runtime.provenance.frozen import freeze, thaw
from overpaint.runtime.tools.grid import Grid

PICTURE = Picture(np.zeros((16, 24, 3), np.uint8))
SD1 = (320, 320, 640, 640, 1280, 1280, 1280, 1280, 1280, 640, 640, 640, 320, 320, 320, 1280)
SDXL = (*[640] * 4, *[1280] * 50, *[640] * 6, *[1280] * 10)
TINY = (128, 192, 192, 192, 128, 128, 192)


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"weight": 3.1}, "weight must be a number from 0"),
        ({"weight": -0.1}, "weight must be a number from 0"),
        ({"weight": math.nan}, "weight must be a number from 0"),
        ({"start": 0.6, "end": 0.5}, "put the start first"),
        ({"end": math.nan}, "end must be a number"),
        ({"mask": np.zeros((4, 4, 3), np.uint8)}, "mask must be uint8"),
        ({"blocks": "styl"}, "style"),
        ({"blocks": (1.0, math.inf)}, "layer's weight"),
        ({"adapter": 3}, "must be text"),
        ({"image": None}, "no image"),
        ({"image": "no-such-file.png"}, "no-such-file"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(fields: dict[str, Any], cause: str) -> None:
    with pytest.raises(InputError, match=cause) as raised:
        ImagePrompt(**{"image": PICTURE, **fields})
    assert raised.value.field == "image_prompts"


@pytest.mark.parametrize(
    ("prompts", "options", "cause"),
    [
        ([ImagePrompt(PICTURE, adapter="a"), ImagePrompt(PICTURE, adapter="b")], {}, "of one adapter"),
        ([ImagePrompt(PICTURE), ImagePrompt(PICTURE, blocks="style")], {"image_blend": "average"}, "one choice"),
        ([ImagePrompt(PICTURE, mask=np.zeros((8, 8), np.uint8))], {}, "mask is 8x8, the picture is 24x16"),
        (["fox.png"], {}, r"make one with overpaint\.ImagePrompt"),
        (7, {}, "tuple"),
    ],
)
def test_a_request_refuses_what_does_not_go_together(prompts: Any, options: dict[str, Any], cause: str) -> None:
    with pytest.raises(InputError, match=cause) as raised:
        Request(PICTURE, image_prompts=prompts, **options)
    assert raised.value.field == "image_prompts"


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("threshold_percentile", "--mimic-scale"),
        ("control_weight", "--control NET"),
        ("image_weight", "--image-prompt FILE"),
    ],
)
def test_a_request_refuses_an_option_without_effect(name: str, flag: str) -> None:
    with pytest.raises(InputError, match=f"{name} is of .*{flag}") as raised:
        Request(PICTURE, **{name: 0.5})
    assert raised.value.field == name
    with pytest.raises(InputError, match=name):
        Grid.of({name: (0.5, 1.0)}).requests(PICTURE, "a", "", {})
    assert getattr(Request(PICTURE, **{name: 1.0}), name) == 1


def test_a_record_keeps_image_prompts() -> None:
    mask = np.zeros((16, 24), np.uint8)
    request = Request(PICTURE, image_prompts=(ImagePrompt(PICTURE, 0.5, mask=mask, blocks=(1.0, 0.0)),))
    again = thaw(freeze(request), lambda _: PICTURE)
    (prompt,) = again.image_prompts
    assert (prompt.weight, prompt.blocks, prompt.image) == (0.5, (1.0, 0.0), PICTURE)
    assert np.array_equal(prompt.mask, mask)


@pytest.mark.parametrize(
    ("layers", "composition", "style"),
    [(SD1, [5], [7]), (SDXL, range(14, 24), range(34, 44)), (TINY, [1], [3])],
    ids=["sd1", "sdxl", "tiny"],
)
def test_blocks_are_those_of_the_deepest_level(layers: Any, composition: Any, style: Any) -> None:
    for name, places in (("composition", composition), ("style", style)):
        weights = layer_weights(layers, name)
        assert weights is not None
        ends = np.cumsum(layers)
        there = [place for place, end in enumerate(ends) if weights[end - 1]]
        assert there == list(places)
        assert weights.sum() == sum(layers[place] for place in places)


def test_blocks_that_are_not_known_are_refused() -> None:
    assert layer_weights(TINY, "all") is None
    with pytest.raises(InputError, match="2 weights of blocks are given, the adapter has 7"):
        layer_weights(TINY, (1.0, 0.0))
    with pytest.raises(InputError, match="give a weight for each layer"):
        layer_weights((64, 64, 64), "style")
