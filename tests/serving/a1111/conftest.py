"""Clients of A1111's interface on the fake engine."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from overpaint.serving.app import create_app
from overpaint.serving.service import Service
from tests.serving.conftest import text

Json = dict[str, Any]


class Sdapi:
    """Calls of A1111's interface."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def get(self, path: str, **query: Any) -> Any:
        response = self.client.get(f"/sdapi/v1/{path}", params=query)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, /, **document: Any) -> Any:
        response = self.client.post(f"/sdapi/v1/{path}", json=document)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, path: str, status: int, /, **document: Any) -> str:
        """The cause of a refusal, in A1111's shape."""
        response = self.client.post(f"/sdapi/v1/{path}", json=document)
        assert response.status_code == status, response.text
        error = response.json()
        assert set(error) == {"error", "detail", "body", "errors"}
        assert error["detail"]
        detail: str = error["detail"]
        return detail

    def until(self, wanted: Callable[[Json], bool], **query: Any) -> Json:
        """The progress once it is as wanted."""
        end = time.monotonic() + 20
        while not wanted(found := self.get("progress", **query)):
            assert time.monotonic() < end, found
            time.sleep(0.01)
        return dict(found)


def pictures(answer: Json) -> list[np.ndarray[Any, Any]]:
    """The pixels of an answer's pictures."""
    return [np.asarray(Image.open(BytesIO(base64.b64decode(each)))) for each in answer["images"]]


def info(answer: Json) -> Json:
    """The info of an answer."""
    made: Json = json.loads(answer["info"])
    return made


@pytest.fixture
def connect(serve: Callable[..., Service]) -> Callable[..., Sdapi]:
    """Makes a client of a service of settings by name."""

    def made(headers: dict[str, str] | None = None, **settings: Any) -> Sdapi:
        app = create_app(serve(**settings))
        return Sdapi(TestClient(app, raise_server_exceptions=False, headers=headers))

    return made


@pytest.fixture
def sdapi(connect: Callable[..., Sdapi]) -> Sdapi:
    """A client of the usual service."""
    return connect()


@pytest.fixture
def call(file: bytes) -> Callable[..., Json]:
    """Makes the fields of an img2img of ten steps at the picture's size."""

    def made(**fields: Any) -> Json:
        usual = {"prompt": "a", "seed": 3, "steps": 10, "width": 56, "height": 40, "sampler_name": "Euler a"}
        return {**usual, "init_images": [text(file)], "denoising_strength": 0.5, **fields}

    return made
