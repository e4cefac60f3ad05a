"""Image prompts of documents."""

import base64
from typing import Any

import pytest

from overpaint import InputError
from overpaint.serving.schemas import order_of
from overpaint.serving.settings import Settings
from tests.support.examples import EXAMPLES

FILE = base64.b64encode(EXAMPLES[0].read_bytes()).decode()


def test_a_document_has_image_prompts() -> None:
    shown = [{"image": FILE, "weight": 0.5, "blocks": [1, 0.5]}, {"image": FILE, "mask": FILE}]
    order = order_of({"image": FILE, "prompt": "fox", "image_prompts": shown, "image_weight": 2}, Settings())
    first, second = order.options["image_prompts"]
    assert (first.weight, first.blocks, first.mask) == (0.5, (1, 0.5), None)
    assert second.mask.shape == second.image.pixels.shape[:2]
    assert order.options["image_weight"] == 2


@pytest.mark.parametrize(
    "wrong",
    [3, [{}], ["x"], [{"image": "x"}], [{"image": FILE, "weight": 9}], [{"image": FILE, "adapter": "/etc"}],
     [{"image": FILE, "blocks": [None]}], [{"image": FILE, "mask": None}]],
)  # fmt: skip
def test_what_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError) as raised:
        order_of({"image": FILE, "image_prompts": wrong}, Settings())
    assert raised.value.field == "image_prompts"
