"""Names that clients send lead to nothing but what the server was started with: no file is opened by them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from starlette.testclient import TestClient

from overpaint.serving.app import create_app
from overpaint.serving.service import Service
from tests.serving.conftest import png, text

_watched: list[str] = []
_opened: list[str] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event in ("open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename"):
        path = str(arguments[0])
        if any(each in path for each in _watched):
            _opened.append(path)


sys.addaudithook(_hear)  # there is no taking it off again; it hears nothing unless something is watched


@contextmanager
def untouched(*paths: str) -> Iterator[None]:
    """Nothing with one of these in its path is opened, listed or written meanwhile, by any thread."""
    _watched[:], _opened[:] = paths, []
    try:
        yield
    finally:
        _watched.clear()
    assert not _opened


@pytest.fixture
def secret(tmp_path: Path, fake_folder: Path) -> Path:
    """A folder that no client may reach: with a bundle and a picture that could be read."""
    folder = tmp_path / "secret-place"
    shutil.copytree(fake_folder, folder / "bundle")
    (folder / "words.safetensors").write_bytes(b"")
    return folder


@pytest.fixture
def client(serve: Callable[..., Service]) -> TestClient:
    return TestClient(create_app(serve()), raise_server_exceptions=False)


def names(secret: Path) -> list[str]:
    """Names that lead elsewhere, where they are taken for paths."""
    up = "../" * 20
    return [
        str(secret / "bundle"),
        f"{up}{secret / 'bundle'}",
        f"fake/../{up}{secret / 'bundle'}",
        f"file://{secret / 'bundle'}",
        quote(str(secret / "bundle"), safe=""),
        f"x={secret / 'bundle'}",
        str(secret / "bundle") + "\0.png",
        str(secret / "words.safetensors"),
        "../../../../etc/passwd",
        "..\\..\\etc\\passwd",
        "/proc/self/environ",
        "~root",
        "${HOME}",
        "$(id)",
        "{0.__class__}",
        "%s%n",
        ".",
        "..",
        " ",
        "\0",
        "\n",
        "a" * 5000,
        "\u202efake",
        "fake\u0000",
        "FAKE",
    ]


PICTURE = text(png(np.zeros((16, 16, 3), np.uint8)))
WATCHED = ("secret-place", "passwd", "/proc/self/environ")


@pytest.mark.parametrize(
    ("path", "field", "more"),
    [
        ("/v1/jobs", "model", {}),
        ("/v1/jobs", "upscaler", {"verb": "upscale", "tile": 32}),
        ("/v1/jobs", "verb", {}),
        ("/v1/jobs", "sampler", {}),
        ("/v1/jobs", "schedule", {}),
        ("/v1/jobs", "convention", {}),
        ("/v1/jobs", "noise", {}),
        ("/v1/jobs", "format", {}),
        ("/v1/jobs", "resize_mode", {"size": [64, 64]}),
        ("/v1/jobs", "image", {}),
        ("/v1/jobs", "mask", {"verb": "inpaint"}),
        ("/v1/images/edits", "model", {}),
        ("/v1/images/edits", "image", {}),
        ("/v1/images/edits", "mask", {}),
        ("/v1/images/generations", "model", {}),
        ("/v1/images/generations", "output_format", {}),
    ],
)
def test_a_name_that_is_not_known_is_refused(
    path: str, field: str, more: dict[str, Any], client: TestClient, file: bytes, secret: Path
) -> None:
    picture = {} if path.endswith("generations") else {"image": text(file)}
    for name in names(secret):
        with untouched(*WATCHED):
            answer = client.post(path, json={"prompt": "a", "steps": 2, **picture, **more, field: name})
        assert answer.status_code == 400, (field, name, answer.text[:200])
        error = answer.json()["error"]
        assert error.get("field", error.get("param")) == field, (name, error)
        assert len(answer.content) < 3000


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("img2img", lambda name: {"override_settings": {"sd_model_checkpoint": name}}),
        ("img2img", lambda name: {"sampler_name": name}),
        ("img2img", lambda name: {"init_images": [name]}),
        ("img2img", lambda name: {"mask": name}),
        ("img2img", lambda name: {"script_name": name}),
        ("img2img", lambda name: {"script_name": "SD upscale", "script_args": [None, 16, name, 2]}),
        ("img2img", lambda name: {"styles": [name]}),
        ("/internal/progress", lambda name: {"id_task": name}),
        ("extra-single-image", lambda name: {"image": PICTURE, "upscaler_1": name}),
        ("extra-single-image", lambda name: {"image": name}),
        ("png-info", lambda name: {"image": name}),
        ("options", lambda name: {"sd_model_checkpoint": name}),
    ],
)
def test_a_name_of_a1111s_interface_opens_no_file(
    path: str, more: Callable[[str], dict[str, Any]], client: TestClient, secret: Path
) -> None:
    for name in names(secret):
        with untouched(*WATCHED):
            sent = {"init_images": [PICTURE], "steps": 1, **more(name)}
            answer = client.post(
                path if path[0] == "/" else f"/sdapi/v1/{path}", json=sent if path == "img2img" else more(name)
            )
        assert answer.status_code < 500, (name, answer.text[:300])


def test_a_prompt_that_names_files_opens_none(client: TestClient, file: bytes, secret: Path) -> None:
    words = secret / "words.safetensors"
    for prompt in (
        f"embedding:{words}",
        f"(embedding:../../{words}:1.2)",
        f"<lora:{words}:1>",
        f"__{words}__",
        f"@{words}",
    ):
        for more in ({}, {"convention": "comfy"}, {"convention": "a1111"}):
            with untouched(*WATCHED):
                sent = {"image": text(file), "prompt": prompt, "steps": 2, "negative_prompt": prompt, **more}
                answer = client.post("/v1/jobs?wait=true", json=sent)
            assert answer.status_code in (200, 400), answer.text


def test_ids_and_names_in_addresses_lead_to_nothing(client: TestClient, secret: Path) -> None:
    for name in names(secret):
        part = quote(name, safe="")
        for path in ("/v1/jobs/{}", "/v1/jobs/{}/result", "/v1/jobs/{}/events", "/v1/models/{}", "/page/{}", "/{}"):
            with untouched(*WATCHED):
                answer = client.get(path.format(part))
            # A client takes dots for a place, and a router a line's end for the end: both are the page's own address.
            assert answer.status_code in (404, 405) or name in (".", "..", "\n"), (path, name, answer.status_code)
        with untouched(*WATCHED):
            assert client.get("/v1/options", params={"model": name}).status_code == 400
            assert client.get("/v1/options", params={"verb": name}).status_code == 400


def test_keys_and_ids_of_callers_are_words_alone(client: TestClient, file: bytes, secret: Path) -> None:
    document = {"image": text(file), "prompt": "a", "steps": 2, "seed": 1}
    ids = set()
    kept = [name for name in names(secret) if name.isascii() and name.isprintable() and name.strip()]
    for name in kept:
        headers = {"idempotency-key": name, "x-request-id": name}
        with untouched(*WATCHED):
            first, again = (client.post("/v1/jobs", json=document, headers=headers) for _ in range(2))
        assert first.status_code == 202
        assert first.json()["id"] == again.json()["id"]
        assert len(first.headers["x-request-id"]) <= 128
        ids.add(first.json()["id"])
    assert len(ids) == len(kept)


def test_the_names_of_files_in_forms_are_not_looked_at(client: TestClient, file: bytes, secret: Path) -> None:
    for name in names(secret):
        for path in ("/v1/jobs?wait=true", "/v1/images/edits"):
            with untouched(*WATCHED):
                answer = client.post(path, data={"prompt": "a", "steps": "1"}, files={"image": (name, file)})
            assert answer.status_code == (200 if len(name) < 1000 else 400), (name, answer.text[:200])
