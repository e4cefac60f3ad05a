"""OpenAI's own client, unmodified, on tiny: what it calls for, it gets."""

from __future__ import annotations

import base64
from collections.abc import Callable
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

import overpaint
from tests.serving.conftest import png
from tests.serving.openai.conftest import client_of
from tests.support.examples import EXAMPLES

FOX = EXAMPLES[1].read_bytes()
QUICK: dict[str, Any] = {"steps": 8, "seed": 7}


@pytest.fixture(scope="module")
def client(tiny: str) -> openai.OpenAI:
    return client_of(tiny)


def pixels(data: bytes | str | None) -> np.ndarray[Any, Any]:
    """The picture of a file, or of its base64."""
    assert data is not None
    return np.asarray(Image.open(BytesIO(base64.b64decode(data) if isinstance(data, str) else data)))


def transparent_right() -> bytes:
    """A mask of 64x64 whose right half is transparent."""
    mask = np.zeros((64, 64, 4), np.uint8)
    mask[:, :32, 3] = 255
    return png(mask)


def test_an_edit_is_what_the_runtime_paints_alone(client: openai.OpenAI) -> None:
    more = {**QUICK, "strength": 0.6, "negative_prompt": "dog", "guidance_scale": 3.0, "sampler": "euler_a"}
    answer = client.images.edit(
        image=FOX, prompt="fox, ink style", model="gpt-image-1", n=2, extra_body=more, input_fidelity="high"
    )
    alone = overpaint.load("tiny")(FOX, "fox, ink style", n=2, **more)
    assert answer.data is not None
    assert len(answer.data) == 2
    for picture, output in zip(answer.data, alone.images, strict=True):
        # What shares a call may differ in the last bit on a real engine.
        assert np.abs(pixels(picture.b64_json).astype(int) - np.asarray(output)).max() <= 2
    assert (answer.size, answer.output_format, answer.background) == ("64x64", "png", "opaque")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 0
    said = answer.model_dump()
    assert [picture["seed"] for picture in said["data"]] == [7, 8]
    assert said["usage"]["evaluations"] > 0
    assert "input_fidelity changes nothing" in said["notes"][0]


def test_what_a_mask_keeps_comes_back_bit_for_bit(client: openai.OpenAI) -> None:
    answer = client.images.edit(
        image=("fox.png", FOX), mask=("mask.png", transparent_right()), prompt="fox, noto style", extra_body=QUICK
    )
    assert answer.data is not None
    made, source = pixels(answer.data[0].b64_json), np.asarray(Image.open(BytesIO(FOX)).convert("RGB"))
    assert np.array_equal(made[:, :32], source[:, :32])
    assert np.abs(made[:, 32:].astype(int) - source[:, 32:]).mean() > 5


def test_a_list_of_one_picture_and_the_other_formats(client: openai.OpenAI) -> None:
    answer = client.images.edit(
        image=[FOX], prompt="fox", size="96x64", output_format="webp", output_compression=50, extra_body=QUICK
    )
    assert answer.data is not None
    file = base64.b64decode(answer.data[0].b64_json or "")
    assert Image.open(BytesIO(file)).format == "WEBP"
    assert pixels(file).shape == (64, 96, 3)
    assert (answer.size, answer.output_format) == ("96x64", "webp")


@pytest.mark.parametrize("masked", [False, True])
def test_partial_images_come_before_the_picture(masked: bool, client: openai.OpenAI) -> None:
    more: dict[str, Any] = {"mask": transparent_right()} if masked else {}
    stream = client.images.edit(
        image=FOX,
        prompt="fox, ink style",
        stream=True,
        partial_images=3,
        extra_body={"steps": 16, "strength": 1.0},
        **more,
    )
    *partial, completed = list(stream)
    assert [event.type for event in partial] == ["image_edit.partial_image"] * len(partial)
    assert 1 <= len(partial) <= 3
    assert [event.partial_image_index for event in partial] == list(range(len(partial)))
    assert completed.type == "image_edit.completed"
    assert completed.usage.total_tokens == 0
    last = pixels(completed.b64_json).astype(int)
    away = [np.abs(pixels(event.b64_json)[:, 32:] - last[:, 32:]).mean() for event in partial]
    assert away[-1] <= away[0]


def test_a_generation_starts_from_noise_alone(client: openai.OpenAI) -> None:
    answer = client.images.generate(
        prompt="fox, ink style", model="dall-e-3", size="64x96", style="vivid", quality="hd", extra_body=QUICK
    )
    assert answer.data is not None
    blank = np.zeros((96, 64, 3), np.uint8)
    alone = overpaint.load("tiny")(blank, "fox, ink style", strength=1.0, **QUICK).images[0]
    assert np.array_equal(pixels(answer.data[0].b64_json), np.asarray(alone))
    assert answer.quality == "high"
    streamed = list(client.images.generate(prompt="fox", stream=True, extra_body=QUICK))
    assert [event.type for event in streamed] == ["image_generation.completed"]
    assert pixels(streamed[0].b64_json).shape == (64, 64, 3)


def test_quality_is_steps_where_none_are_said(listen: Callable[..., str]) -> None:
    client, took = client_of(listen()), dict[Any, int]()
    for quality in ("low", "medium", "high"):
        answer = client.images.generate(prompt="a", quality=quality)  # type: ignore[call-overload]
        took[answer.quality] = answer.model_dump()["usage"]["evaluations"]
    assert took == {"low": 10, "medium": 20, "high": 40}


def test_a_url_is_that_of_the_jobs_result(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="fox", response_format="url", extra_body=QUICK)
    assert answer.data is not None
    assert answer.data[0].b64_json is None
    fetched = httpx.get(answer.data[0].url or "")
    assert fetched.headers["content-type"] == "image/png"
    assert pixels(fetched.content).shape == (64, 64, 3)


def test_a_variation_needs_no_prompt(client: openai.OpenAI) -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):
        answer = client.images.create_variation(image=FOX, n=2, extra_body={"size": "96x64", **QUICK})
    assert answer.data is not None
    assert [pixels(picture.b64_json).shape for picture in answer.data] == [(64, 96, 3)] * 2


def test_models_are_listed(client: openai.OpenAI) -> None:
    (model,) = client.models.list()
    assert (model.id, model.object, model.owned_by) == ("tiny", "model", "overpaint")
    assert client.models.retrieve("tiny") == model
    with pytest.raises(openai.NotFoundError, match="no model 'other'"):
        client.models.retrieve("other")
