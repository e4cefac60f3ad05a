"""Workflows of several clients at once share the model's calls, and come out as alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from overpaint.runtime.model.load import MODELS
from overpaint.runtime.model.model import Model
from overpaint.serving.comfy.app import ComfyApp
from overpaint.serving.service import Service
from tests.serving.conftest import counting

KEYS = ("the-first-owner", "the-second-owner")
SEEDS = (1, 2, 3, 4)


def workflow(seed: int) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((MODELS / "examples/workflows/img2img.json").read_text())
    for node in document.values():
        inputs = node["inputs"]
        for name, value in {"ckpt_name": "fake", "seed": seed}.items():
            if name in inputs:
                inputs[name] = value
    return document


class Owner:
    """Calls with a key."""

    def __init__(self, client: TestClient, key: str) -> None:
        self._client, self._headers = client, {"authorization": f"Bearer {key}"}

    def submit(self, seed: int) -> str:
        body = {"prompt": workflow(seed), "client_id": f"client-{seed}"}
        answer = self._client.post("/prompt", json=body, headers=self._headers)
        assert answer.status_code == 200, answer.text
        id: str = answer.json()["prompt_id"]
        return id

    def picture(self, id: str) -> bytes:
        """What came of a workflow, once it has ended."""
        end = time.monotonic() + 60
        while not (entry := self._client.get(f"/history/{id}", headers=self._headers).json()):
            assert time.monotonic() < end
            time.sleep(0.01)
        assert entry[id]["status"]["completed"], entry[id]["status"]["messages"]
        ((about,),) = (shown["images"] for shown in entry[id]["outputs"].values())
        return self._client.get("/view", params=about, headers=self._headers).content


def test_they_share_calls_and_do_not_alter_one_another(
    serve: Callable[..., Service], model: Model, slow: Callable[[float], None], tmp_path: Path
) -> None:
    service = serve(comfy_dir=str(tmp_path / "comfy"), comfy_runs=len(SEEDS), api_keys=KEYS)
    calls = counting(model.stages.denoiser.engine).rows
    slow(0.02)
    with TestClient(ComfyApp(service)) as client:
        alone, together = (Owner(client, key) for key in KEYS)
        first = [alone.picture(alone.submit(seed)) for seed in SEEDS]
        apart, rows = len(calls), sum(calls)
        second = list(map(together.picture, [together.submit(seed) for seed in SEEDS]))
    assert first == second
    assert len(set(first)) == len(SEEDS)
    assert sum(calls) == 2 * rows
    assert len(calls) - apart < 0.6 * apart
