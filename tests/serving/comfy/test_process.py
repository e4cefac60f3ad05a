"""A process that serves ComfyUI's interface beside its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from tests.serving.conftest import Start
from tests.support.examples import EXAMPLES

WORKFLOWS = EXAMPLES[1].parent / "workflows"


def until(done: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (found := done()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def test_a_workflow_runs_on_the_servers_models(start: Start, tmp_path: Path) -> None:
    process, main = start("--comfy-port", "0", "--comfy-dir", str(tmp_path / "comfy"))
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("serving ComfyUI's interface at ")
    with httpx.Client(base_url=line.split()[-1], timeout=60) as client:
        assert "tiny" in client.get("/models/checkpoints").json()
        assert client.get("/object_info/KSampler").json()["KSampler"]["output"] == ["LATENT"]
        document = json.loads((WORKFLOWS / "img2img.json").read_text())
        (saving,) = [id for id, node in document.items() if node["class_type"] == "SaveImage"]
        editor = {"id": "mine", "nodes": []}
        body = {"prompt": document, "extra_data": {"extra_pnginfo": {"workflow": editor}}}
        pictures = []
        for _ in range(2):
            id = client.post("/prompt", json=body).json()["prompt_id"]
            entry = until(lambda id=id: client.get(f"/history/{id}").json())[id]
            assert entry["status"]["completed"], entry["status"]["messages"]
            (about,) = entry["outputs"][saving]["images"]
            pictures.append(client.get("/view", params=about).content)
        assert dict(entry["status"]["messages"])["execution_cached"]["nodes"], "nothing runs twice"
        with Image.open(BytesIO(pictures[0])) as image:
            assert json.loads(image.text["prompt"]) == document
            assert json.loads(image.text["workflow"]) == editor
            assert np.asarray(image).std() > 10
        assert pictures[0] == pictures[1]
        assert main.get("/healthz").json()["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_workflows_under_way_are_cancelled_when_the_time_to_end_is_over(start: Start, tmp_path: Path) -> None:
    process, _ = start("--comfy-port=0", f"--comfy-dir={tmp_path}", "--drain-seconds=1", "--linger-seconds=0")
    assert process.stdout is not None
    with httpx.Client(base_url=process.stdout.readline().split()[-1], timeout=60) as client:
        document = json.loads((WORKFLOWS / "img2img.json").read_text())
        for node in document.values():
            if node["class_type"] == "KSampler":
                node["inputs"]["steps"] = 10000
        client.post("/prompt", json={"prompt": document})
        until(lambda: client.get("/queue").json()["queue_running"])
        process.send_signal(signal.SIGTERM)
        until(lambda: client.post("/prompt", json={"prompt": document}).status_code == 503)
    assert process.wait(60) == 0


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = [
            sys.executable,
            "-m",
            "overpaint",
            "serve",
            "--port=0",
            f"--comfy-port={port}",
            f"--comfy-dir={tmp_path}",
        ]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode != 0
    assert f"comfy_port: 127.0.0.1:{port} cannot be listened at" in ended.stderr
