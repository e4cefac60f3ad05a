"""Clients of ComfyUI's interface on the fake engine, with nodes that need no model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

from overpaint.serving.comfy.app import ComfyApp
from overpaint.serving.comfy.folders import Folders
from overpaint.serving.comfy.narrator import Narrator
from overpaint.serving.comfy.submissions import CANCELLED, DONE, FAILED, Submission
from overpaint.serving.service import Service
from overpaint.workflow.node import Node, Nodes, outputs
from overpaint.workflow.sockets import choice, integer, link

Json = dict[str, Any]


def nothing(**inputs: Any) -> None:
    """What the nodes of these tests do."""


NODES = (
    Node("Begin", nothing, needed={"value": integer(1, 1, 9)}, outputs=outputs("LATENT")),
    Node(
        "Work", nothing, needed={"samples": link("LATENT"), "how": choice(["well", "badly"])}, outputs=outputs("IMAGE")
    ),
    Node("Show", nothing, needed={"images": link("IMAGE")}, sink=True),
)


@dataclass
class Runs:
    """Runs workflows without models; `gate` holds them up, and `order` has the ids of those that began."""

    folders: Folders
    gate: threading.Event = field(default_factory=threading.Event)
    order: list[str] = field(default_factory=list)
    results: Json = field(default_factory=dict)

    def __call__(self, submission: Submission, narrator: Narrator) -> str:
        self.order.append(submission.id)
        narrator.begun()
        narrator.cached([])
        done: list[str] = []
        for id, step in submission.workflow.steps.items():
            narrator.node_begun(id)
            for value in (1, 2):
                narrator.progress(id, value, 2)
            if narrator.wants_previews:
                narrator.preview(id, Image.new("RGB", (1024, 64)))
            while not self.gate.is_set() and not submission.cancel.is_set():
                time.sleep(0.005)
            if submission.cancel.is_set():
                narrator.interrupted(done)
                return CANCELLED
            if step.inputs.get("how") == "badly":
                narrator.failed(id, ValueError("no"), "it went badly", done)
                return FAILED
            narrator.node_done(id, self._shown(submission) if step.kind == "Show" else None)
            done.append(id)
        narrator.succeeded()
        return DONE

    def _shown(self, submission: Submission) -> Json:
        name = f"{submission.id}.png"
        Image.new("RGB", (8, 8), "red").save(self.folders.of("output") / name)
        return {"images": [{"filename": name, "subfolder": "", "type": "output"}]}


class Comfy:
    """Calls of ComfyUI's interface."""

    def __init__(self, client: TestClient, app: ComfyApp) -> None:
        self.client, self.app = client, app

    def get(self, path: str, status: int = 200, /, **query: Any) -> Any:
        response = self.client.get(path, params=query)
        assert response.status_code == status, response.text
        return response.json()

    def post(self, path: str, status: int = 200, /, **document: Any) -> Any:
        response = self.client.post(path, json=document)
        assert response.status_code == status, response.text
        return response.json() if response.content else None

    def runs(self, owner: str = "") -> Runs:
        runs: Runs = self.app.desks.desk(owner).bench
        return runs

    def until(self, done: Callable[[], Any]) -> Any:
        end = time.monotonic() + 10
        while not (found := done()):
            assert time.monotonic() < end
            time.sleep(0.01)
        return found

    def ended(self, id: str) -> Json:
        """The history of one, once it has ended."""
        entry: Json = self.until(lambda: self.get(f"/history/{id}"))[id]
        return entry


def workflow(**changes: Any) -> Json:
    """Three nodes in a row."""
    return {
        "1": {"class_type": "Begin", "inputs": {"value": 3, **changes}, "_meta": {"title": "First"}},
        "2": {"class_type": "Work", "inputs": {"samples": ["1", 0], "how": "well"}, "_meta": {"title": "Second"}},
        "3": {"class_type": "Show", "inputs": {"images": ["2", 0]}, "_meta": {"title": "Shown"}},
    }


@pytest.fixture
def comfy(connect: Callable[..., Comfy]) -> Comfy:
    """A client of the usual service, whose workflows run through."""
    client = connect()
    client.runs().gate.set()
    return client


@pytest.fixture
def connect(serve: Callable[..., Service], tmp_path: Path) -> Iterator[Callable[..., Comfy]]:
    """Makes a client of a service of settings by name."""
    clients: list[TestClient] = []

    def equip(folders: Folders) -> tuple[Any, Runs]:
        runs = Runs(folders)
        return runs, runs

    def made(headers: dict[str, str] | None = None, **settings: Any) -> Comfy:
        nodes = Nodes()
        nodes.add(*NODES)
        app = ComfyApp(serve(comfy_dir=str(tmp_path / "comfy"), **settings), nodes, equip)
        client = TestClient(app, raise_server_exceptions=False, headers=headers)
        client.__enter__()
        clients.append(client)
        return Comfy(client, app)

    yield made
    for client in clients:
        client.__exit__(None, None, None)


@contextmanager
def listening(app: ComfyApp) -> Iterator[str]:
    """The address of the application while it is served from a thread."""
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)
