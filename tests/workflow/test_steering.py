"""Guidance in two stages, and prompts of SDXL's family."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from overpaint.errors import InputError
from overpaint.runtime.conditioning.conditioning import POOLED, TEXT
from overpaint.runtime.requests.sections import Micro
from overpaint.workflow.nodes.custom_sampling import basic_guider, cfg_guider, dual_cfg_guider
from overpaint.workflow.nodes.xl_prompts import clip_text_encode_sdxl, clip_text_encode_sdxl_refiner
from overpaint.workflow.values import Texts

CONTEXT: Any = None
WIDTHS = 3, 5


class TextModel:
    """Two text encoders: hidden states are a text's length, 4 tokens for each 10 letters."""

    def __init__(self, *widths: int) -> None:
        encoders = [
            SimpleNamespace(
                facts=SimpleNamespace(hidden="hidden"),
                engine=SimpleNamespace(outputs=[SimpleNamespace(name="hidden", axes=("rows", 4, width))]),
            )
            for width in widths
        ]
        self.stages = SimpleNamespace(prompts=SimpleNamespace(encoders=encoders))
        self.width = sum(widths)

    def encode_prompt(self, text: str, **options: Any) -> dict[str, np.ndarray]:
        tokens = 4 * (1 + len(text) // 10)
        return {
            TEXT: np.full((tokens, self.width), len(text), np.float32),
            POOLED: np.full(2, len(text), np.float32),
        }


def texts(*widths: int) -> Any:
    model: Any = TextModel(*widths)
    return Texts(model)


def encoded(clip: Any, text_g: str, text_l: str) -> Any:
    [entry] = clip_text_encode_sdxl.function(CONTEXT, clip, 1024, 768, 8, 16, 512, 256, text_g, text_l)
    return entry


def test_each_encoder_has_its_text() -> None:
    entry = encoded(texts(*WIDTHS), "ab", "a text that is long")
    assert entry.inputs[TEXT].shape == (8, 8)
    assert entry.inputs[TEXT][:, :3].tolist() == [[19] * 3] * 8
    assert entry.inputs[TEXT][:, 3:].tolist() == [[2] * 5] * 4 + [[0] * 5] * 4, "then an empty text"
    assert entry.inputs[POOLED].tolist() == [2, 2]
    assert entry.sizes == Micro((1024, 768), (512, 256), 8, 16)
    same = encoded(texts(*WIDTHS), "ab", "ab")
    assert same.inputs[TEXT].tolist() == [[2] * 8] * 4
    with pytest.raises(InputError, match="this model has 1"):
        encoded(texts(3), "a", "b")


def test_the_refiner_has_a_score() -> None:
    [entry] = clip_text_encode_sdxl_refiner.function(CONTEXT, 7.5, 640, 512, "fox", texts(5))
    numbers = entry.sizes.size_numbers((64, 64), negative=True)
    assert (numbers["original_width"], numbers["original_height"], numbers["aesthetic_score"]) == (640, 512, 7.5)


@pytest.mark.parametrize(("style", "weights"), [("regular", [3, -1, -1]), ("nested", [6, -4, -1])])
def test_guidance_in_two_stages(style: str, weights: list[float]) -> None:
    model: Any = object()
    first, second, negative = ((name,) for name in "abc")
    guider = dual_cfg_guider.function(CONTEXT, model, first, second, negative, 3.0, 2.0, style)
    assert [side.weight for side in guider.sides] == weights
    assert [side.negative for side in guider.sides] == [False, False, True]
    assert guider.positive == ("a",)
    plain = cfg_guider.function(CONTEXT, model, first, negative, 3.0)
    assert [side.weight for side in plain.sides] == [3, -2]
    assert [side.weight for side in basic_guider.function(CONTEXT, model, first).sides] == [1]
