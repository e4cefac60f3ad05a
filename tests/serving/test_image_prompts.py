"""Image prompts of documents."""

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import overpaint
from overpaint import ImagePrompt, InputError, Pipeline
from overpaint.serving.adapters import lend
from overpaint.serving.app import create_app
from overpaint.serving.schemas import order_of
from overpaint.serving.service import Service
from overpaint.serving.settings import Settings
from tests.serving.conftest import QUICK
from tests.support.bundles import fake_bundle, fake_image_prompt
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


def test_what_is_wrong_of_which_is_told() -> None:
    wrong = [{"image": FILE}, {"image": FILE, "mask": "%"}]
    with pytest.raises(InputError, match=r"image_prompts\[1\]\.mask is neither base64"):
        order_of({"image": FILE, "image_prompts": wrong}, Settings())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and two adapters, and one of another family."""
    made = tmp_path_factory.mktemp("image-prompts")
    fake_bundle(made / "bundle", image=True)
    for name in ("style", "faces"):
        fake_image_prompt(made / name)
    fake_image_prompt(made / "other", layers=(3,))
    return made


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    adapters = (str(folder / "style"), f"portraits={folder / 'faces'}")
    settings = Settings(**{**QUICK, "image_prompt_adapters": adapters})
    model = overpaint.load(folder / "bundle", engine="fake").model
    lend({"fake": model}, settings)
    with TestClient(create_app(Service({"fake": model}, settings)), raise_server_exceptions=False) as made:
        while made.get("/readyz").status_code != 200:
            pass
        yield made


def post(client: TestClient, *prompts: Any) -> Any:
    document = {"image": FILE, "prompt": "a", "seed": 1, "steps": 4, "image_prompts": list(prompts)}
    return client.post("/v1/jobs?wait=true", json=document)


def test_adapters_have_names(client: TestClient, folder: Path) -> None:
    [model] = client.get("/v1/models").json()["models"]
    assert model["image_prompt_adapters"] == ["style", "portraits"]
    answers = [
        post(client, {"image": FILE, **adapter}) for adapter in ({}, {"adapter": "style"}, {"adapter": "portraits"})
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    pixels = [np.asarray(Image.open(BytesIO(answer.content))) for answer in answers]
    lone = overpaint.load(folder / "bundle", engine="fake", image_prompt_adapters={"style": folder / "style"})
    prompts = (ImagePrompt(EXAMPLES[0].read_bytes()),)
    expected = lone(EXAMPLES[0], "a", seed=1, steps=4, image_prompts=prompts).images[0]
    assert np.array_equal(pixels[0], np.asarray(expected))
    assert np.array_equal(pixels[0], pixels[1])


@pytest.mark.parametrize("adapter", ["/etc", "../faces", "{}/faces", "~", "emoji", "shades", 3, None])
def test_an_image_prompt_names_what_is_served(adapter: Any, client: TestClient, folder: Path) -> None:
    name = adapter.format(folder) if isinstance(adapter, str) else adapter
    answer = post(client, {"image": FILE, "adapter": name})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "image_prompts"


def test_an_adapter_that_fits_no_model_is_refused_at_the_start(folder: Path, fake: Pipeline) -> None:
    model = overpaint.load(folder / "bundle", engine="fake").model
    with pytest.raises(InputError, match="another family"):
        lend({"a": model}, Settings(image_prompt_adapters=(str(folder / "other"),)))
    with pytest.raises(InputError, match="without inputs for image prompts"):
        lend({"a": fake.model}, Settings(image_prompt_adapters=(str(folder / "style"),)))
    lend({"a": fake.model, "b": model}, Settings(image_prompt_adapters=(str(folder / "style"),)))
    assert model.stages.image_adapters.offered.keys() == {"style"}
