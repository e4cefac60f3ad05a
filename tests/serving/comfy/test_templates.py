"""The templates that the page offers: all of them open, and run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from overpaint.runtime.model.model import Model
from overpaint.serving.comfy.app import ComfyApp
from overpaint.serving.comfy.templates import workflows
from overpaint.serving.service import Service
from overpaint.serving.settings import Settings
from tests.serving.conftest import QUICK


@pytest.fixture
def client(model: Model, tmp_path: Path) -> Iterator[TestClient]:
    """A client of a server whose fake model has the shipped one's name."""
    service = Service({"tiny": model}, Settings(**QUICK, comfy_dir=str(tmp_path / "comfy")))
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
