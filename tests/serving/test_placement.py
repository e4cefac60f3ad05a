"""Calls before several replicas: where each belongs, and what becomes of it when a replica is full or dies."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from overpaint.serving.app import guarded
from overpaint.serving.ray.calls import Call, Head
from overpaint.serving.ray.door import Door, Failures
from overpaint.serving.ray.painter import Painter
from overpaint.serving.ray.placement import Placement, placement_of, ranked, shape_of
from overpaint.serving.settings import Settings
from tests.serving.conftest import QUICK, png, text


class GoneError(Exception):
    """A replica is dead."""


class FullError(Exception):
    """No replica takes a call."""


class Replicas:
    """Painters that can be killed, as a handle of Ray Serve has them."""

    def __init__(self, settings: Settings) -> None:
        self.painters = {name: Painter(settings, name) for name in ("a", "b", "c")}
        self.calls: list[tuple[str, Placement]] = []
        self.dying: dict[str, int] = {}
        """How many pieces of an answer a replica gives before it dies."""
        self.full = False

    async def answer(self, call: Call) -> AsyncGenerator[Head | bytes]:
        if self.full:
            raise FullError
        name = ranked(call.placement, dict.fromkeys(self.painters, 0), call.avoided)[0][0]
        self.calls.append((name, call.placement))
        left = self.dying.get(name)
        if left == 0:
            del self.painters[name], self.dying[name]
            raise GoneError
        async with aclosing(self.painters[name].answer(call)) as pieces:
            async for piece in pieces:
                yield piece
                if left is not None and (left := left - 1) <= 0:
                    del self.painters[name], self.dying[name]
                    raise GoneError


@pytest.fixture
def replicas(fake_folder: Path) -> Iterator[Replicas]:
    made = Replicas(Settings(**{**QUICK, "models": (f"fake={fake_folder}",), "engine": "fake", "queue_limit": 2}))
    painters = tuple(made.painters.values())
    yield made
    for painter in painters:
        asyncio.run(painter.close())


@pytest.fixture
def client(replicas: Replicas) -> Iterator[TestClient]:
    settings = Settings(**{**QUICK, "api_keys": ("abcdefgh",)})
    door = Door(settings, replicas.answer, Failures((FullError,), (GoneError,)))
    app = Starlette(routes=[Mount("/", door)], middleware=guarded(settings))
    with TestClient(app, headers={"x-api-key": "abcdefgh"}) as client:
        yield client


def document(file: bytes, **fields: Any) -> dict[str, Any]:
    return {"image": text(file), "prompt": "a", "seed": 1, "steps": 4, **fields}


def test_a_call_belongs_where_its_job_is_its_caller_or_its_key() -> None:
    assert placement_of("/v1/jobs/k3x.0f", {}, "me") == Placement(replica="k3x")
    assert placement_of("/v1/jobs/k3x.0f/events", {}, "me") == Placement(replica="k3x")
    assert placement_of("/sdapi/v1/progress", {}, "me") == placement_of("/sdapi/v1/img2img", {}, "me")
    assert placement_of("/sdapi/v1/progress", {}, "me") != placement_of("/sdapi/v1/progress", {}, "you")
    key = placement_of("/v1/jobs", {"idempotency-key": "k"}, "me")
    assert key is not None
    assert key.firm
    assert key != placement_of("/v1/jobs", {"idempotency-key": "k"}, "you")
    assert placement_of("/v1/jobs", {}, "me") is None


def test_a_shape_is_the_model_and_the_size_in_latents() -> None:
    small, wide = (png(np.zeros(shape, np.uint8)) for shape in ((64, 64, 3), (64, 128, 3)))
    keys = [
        shape_of({"image": text(small)}),
        shape_of({"image": small}),
        shape_of({"image": [small, wide]}),
        shape_of({"image": wide, "size": [64, 64]}),
        shape_of({"image": wide, "size": "[64, 60]"}),
        shape_of({"size": "64x64"}),
    ]
    assert len(set(keys)) == 1
    assert shape_of({"image": wide}) != keys[0]
    assert shape_of({"image": small, "model": "other"}) != keys[0]
    for wrong in (b"no picture", "https://elsewhere/x.png", 7, None, [], small[:20]):
        assert shape_of({"image": wrong}) == Placement()


def test_equal_keys_meet_until_their_replica_has_much_to_do() -> None:
    loads = dict.fromkeys("abcde", 0)
    (first,), (second,), *_ = ranked(Placement(key="64x64"), loads)
    assert ranked(Placement(key="64x64"), {**loads, first: 15})[0] == [first]
    assert ranked(Placement(key="64x64"), {**loads, first: 16})[0] == [second]
    assert ranked(Placement(key="64x64"), loads, frozenset({first}))[0] == [second]
    firsts = {ranked(Placement(key=str(number)), loads)[0][0] for number in range(50)}
    assert firsts == set(loads)  # keys spread
    fewer = {name: load for name, load in loads.items() if name != second}
    assert ranked(Placement(key="64x64"), fewer)[0] == [first]  # who is not concerned stays
    assert ranked(Placement(key="k", firm=True), {**loads, "a": 99}) == ranked(Placement(key="k", firm=True), loads)
    assert ranked(Placement(replica="d"), loads) == [["d"]]
    assert ranked(Placement(replica="gone"), loads) == ranked(Placement(), loads) == [list(loads)]


def test_a_job_is_followed_fetched_and_cancelled_where_it_is(
    client: TestClient, replicas: Replicas, file: bytes
) -> None:
    made = client.post("/v1/jobs", json=document(file)).json()
    name = made["id"].partition(".")[0]
    assert name in replicas.painters
    with client.stream("GET", f"/v1/jobs/{made['id']}/events") as events:
        assert "event: end" in "".join(events.iter_text())
    result = client.get(f"/v1/jobs/{made['id']}/result")
    assert result.headers["content-type"] == "image/png"
    assert result.headers["x-replica"] == name
    assert client.delete(f"/v1/jobs/{made['id']}").json()["status"] == "done"
    again = client.post("/v1/jobs?wait=true", files={"image": file}, data={"prompt": "a", "seed": "1", "steps": "4"})
    assert again.content == result.content
    assert {called for called, _ in replicas.calls} == {name}  # the shape is the same
    assert client.get("/v1/jobs/zzz.00").json()["error"]["type"] == "replica_lost"
    assert client.get("/readyz").status_code == 200
    assert client.post("/v1/jobs", content=b"{").status_code == 400
    assert client.get("/v1/models", headers={"x-api-key": "wrong"}).status_code == 401


def test_a_call_that_one_replica_has_no_room_for_goes_to_another(
    client: TestClient, replicas: Replicas, file: bytes
) -> None:
    long = [document(file, steps=900, strength=1.0, seed=seed) for seed in range(6)]
    ids = [client.post("/v1/jobs", json=each).json()["id"] for each in long]
    assert sorted(id[0] for id in ids) == list("aabbcc")
    refused = client.post("/v1/jobs", json=document(file))
    assert refused.status_code == 429
    assert refused.headers["retry-after"]
    for id in ids:
        assert client.delete(f"/v1/jobs/{id}").status_code == 200
    replicas.full = True
    full = client.get("/v1/models")
    assert (full.status_code, full.json()["error"]["type"]) == (503, "busy")
    assert full.headers["retry-after"] == "1"


def test_a_call_whose_replica_dies_is_sent_once_more(client: TestClient, replicas: Replicas, file: bytes) -> None:
    first = client.post("/v1/jobs?wait=true", json=document(file)).headers["x-replica"]
    replicas.dying = {first: 0}
    again = client.post("/v1/jobs?wait=true", json=document(file))
    assert again.status_code == 200
    assert again.headers["x-replica"] != first
    replicas.dying = dict.fromkeys(replicas.painters, 0)
    dead = client.post("/v1/jobs?wait=true", json=document(file))
    assert (dead.status_code, dead.json()["error"]["type"]) == (503, "replica_lost")
    assert dead.headers["retry-after"]


def test_of_a_job_whose_replica_dies_all_hear_an_end(client: TestClient, replicas: Replicas, file: bytes) -> None:
    id = client.post("/v1/jobs", json=document(file, steps=900, strength=1.0)).json()["id"]
    replicas.dying = {id[0]: 3}
    with client.stream("GET", f"/v1/jobs/{id}/events") as events:
        heard = "".join(events.iter_text())
    last = heard.strip().rpartition("event: end\ndata: ")[2]
    assert json.loads(last)["error"]["type"] == "replica_lost"
    assert client.get(f"/v1/jobs/{id}").status_code == 410


def test_where_a_client_goes_away_its_job_ends(replicas: Replicas, file: bytes, client: TestClient) -> None:
    def open_jobs() -> list[Any]:
        return [job for each in replicas.painters.values() for job in each._service.jobs.open()]

    async def leave() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(client.app), base_url="http://testserver") as other:
            call = other.post(
                "/v1/jobs?wait=true",
                json=document(file, steps=900, strength=1.0, n=3),
                headers={"x-api-key": "abcdefgh"},
            )
            task = asyncio.create_task(call)
            while not open_jobs():
                await asyncio.sleep(0.01)
            task.cancel()
            end = time.monotonic() + 5
            while open_jobs():
                await asyncio.sleep(0.01)
                assert time.monotonic() < end

    asyncio.run(leave())


def test_health_is_that_of_the_work(replicas: Replicas) -> None:
    painter = replicas.painters["a"]
    painter.check_health()
    painter._service.stalled = lambda: ["x"]  # type: ignore[method-assign]
    with pytest.raises(Exception, match="hangs"):
        painter.check_health()
