"""The templates that the page offers: all of them open, and run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

import overpaint
from overpaint.runtime.model.model import Model
from overpaint.serving.comfy.app import ComfyApp
from overpaint.serving.comfy.templates import workflows
from overpaint.serving.service import Service
from overpaint.serving.settings import Settings
from tests.serving.conftest import QUICK
from tests.support import loras
from tests.support.bundles import fake_bundle, fake_controlnet, fake_image_prompt


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """A fake model that takes LoRAs, with a ControlNet and an adapter under the names of those that ship."""
    folder = tmp_path_factory.mktemp("fakes")
    fake_controlnet(folder / "edges")
    fake_image_prompt(folder / "emoji")
    (folder / "loras").mkdir()
    loras.write(folder / "loras/delft.safetensors", loras.unet(1))
    bundle = fake_bundle(folder / "bundle", control=True, image=True, lora=True)
    with overpaint.load(
        bundle.folder, engine="fake", controlnets={"edges": folder / "edges"},
        image_prompt_adapters={"emoji": folder / "emoji"}, loras=folder / "loras",
    ) as pipe:  # fmt: skip
        yield pipe.model


@pytest.fixture(scope="module")
def client(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a server whose fake model has the shipped one's name."""
    service = Service({"tiny": model}, Settings(**QUICK, comfy_dir=str(tmp_path_factory.mktemp("comfy"))))
    service.start()
    with TestClient(ComfyApp(service)) as client:
        yield client
    service.close()


def test_they_are_listed_and_opened(client: TestClient) -> None:
    (category,) = client.get("/templates/index.json").json()
    assert [each["name"] for each in category["templates"]] == list(workflows())
    for template in category["templates"]:
        page = client.get(f"/templates/{template['name']}.json").json()
        assert len(page["nodes"]) == len(workflows()[template["name"]])
        picture = client.get(f"/templates/{template['name']}-1.{template['mediaSubtype']}")
        assert Image.open(BytesIO(picture.content)).format == "PNG"


def test_those_that_lack_a_file_are_not_offered(tmp_path: Path) -> None:
    plain = overpaint.load(fake_bundle(tmp_path / "bundle").folder, engine="fake").model
    service = Service({"tiny": plain}, Settings(**QUICK, comfy_dir=str(tmp_path / "comfy")))
    with TestClient(ComfyApp(service)) as client:
        (category,) = client.get("/templates/index.json").json()
    service.close()
    assert {"lora"} == workflows().keys() - {each["name"] for each in category["templates"]}


@pytest.mark.parametrize("name", list(workflows()))
def test_they_run(client: TestClient, name: str) -> None:
    answer = client.post("/prompt", json={"prompt": workflows()[name]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["node_errors"] == {}
    id = answer.json()["prompt_id"]
    end = time.monotonic() + 60
    while not (entry := client.get(f"/history/{id}").json()):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert entry[id]["status"]["completed"], entry[id]["status"]["messages"]
