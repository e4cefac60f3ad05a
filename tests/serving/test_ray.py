"""The server on Ray Serve: two replicas of tiny, one of which is killed under load."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import overpaint
from overpaint.errors import InputError
from overpaint.serving.settings import Settings
from tests.support.examples import EXAMPLES

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
ray = pytest.importorskip("ray", reason="Ray is not installed; run: pip install 'overpaint[ray]'")
from ray import serve  # noqa: E402 - where there is Ray

from overpaint.serving.ray_app import PAINTER, Scale, app, build  # noqa: E402

FOX = EXAMPLES[1].read_bytes()
Fields = dict[str, str]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where two replicas are served."""
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        port = each.getsockname()[1]
    ray.init(num_cpus=4, include_dashboard=False, object_store_memory=200 * 2**20, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    settings = Settings(threads=1, engine="onnxruntime", warm_up=((64, 64),), queue_limit=32)
    serve.run(build(settings, Scale(min_replicas=2, max_replicas=2, meet=4)), name="overpaint")
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
    ray.shutdown()


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=180, limits=httpx.Limits(max_connections=100)) as client:
        yield client


def fields(seed: int, **more: Any) -> Fields:
    return {"prompt": "fox, ink style", "seed": str(seed), **{name: str(value) for name, value in more.items()}}


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(BytesIO(data)))


def replicas() -> dict[str, Any]:
    """The replicas' actors that live, by name."""
    found = {}
    for each in ray.util.list_named_actors(all_namespaces=True):
        kind, _, name = each["name"].rpartition("#")
        if kind.endswith(f"#{PAINTER}"):
            found[name] = ray.get_actor(each["name"], namespace=each["namespace"])
    return found


@pytest.mark.slow
def test_a_replica_that_is_killed_under_load_loses_no_call(client: httpx.Client) -> None:
    names = set(replicas())
    assert len(names) == 2
    seeds = range(24)

    def painted(seed: int) -> httpx.Response:
        time.sleep(0.05 * seed)
        return client.post("/v1/jobs?wait=true", files={"image": FOX}, data=fields(seed, steps=30, strength=0.8))

    def heard(id: str) -> str:
        with client.stream("GET", f"/v1/jobs/{id}/events?previews=false") as events:
            return "".join(events.iter_text())

    with ThreadPoolExecutor(len(seeds) + 1) as threads:
        waiting = [threads.submit(painted, seed) for seed in seeds]
        left = client.post("/v1/jobs", files={"image": FOX}, data=fields(99, steps=900, strength=1)).json()["id"]
        hearing = threads.submit(heard, left)
        time.sleep(1.5)
        victim = left.partition(".")[0]
        ray.kill(replicas()[victim], no_restart=True)
        answers = [each.result() for each in waiting]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    pipe = overpaint.load("tiny", threads=1, engine="onnxruntime")
    for seed in (0, 12, 23):
        alone = pipe(FOX, "fox, ink style", seed=seed, steps=30, strength=0.8).images[0]
        distance = pixels(answers[seed].content).astype(int) - np.asarray(alone, dtype=int)
        assert np.abs(distance).max() <= 2
    assert "replica_lost" in hearing.result().rpartition("event: end")[2]
    lost = client.get(f"/v1/jobs/{left}")
    assert (lost.status_code, lost.json()["error"]["type"]) == (410, "replica_lost")
    end = time.monotonic() + 120
    while len(set(replicas()) - {victim}) < 2:  # Serve starts another
        time.sleep(0.5)
        assert time.monotonic() < end


@pytest.mark.slow
def test_jobs_are_reached_and_equal_shapes_meet(client: httpx.Client) -> None:
    wide = BytesIO()
    Image.open(BytesIO(FOX)).resize((128, 64)).save(wide, "PNG")
    for file in (FOX, wide.getvalue()):
        names = set()
        for seed in range(4):
            made = client.post("/v1/jobs", files={"image": file}, data=fields(seed)).json()
            names.add(made["id"].partition(".")[0])
            with client.stream("GET", f"/v1/jobs/{made['id']}/events?previews=false") as events:
                assert "event: end" in "".join(events.iter_text())
            result = client.get(f"/v1/jobs/{made['id']}/result")
            assert pixels(result.content).shape[0] == 64
        assert len(names) == 1
    long = client.post("/v1/jobs", files={"image": FOX}, data=fields(1, steps=900, strength=1)).json()["id"]
    assert client.delete(f"/v1/jobs/{long}").json()["status"] == "cancelled"
    assert client.get("/readyz").status_code == 200


@pytest.mark.slow
def test_where_all_are_full_a_call_is_refused(client: httpx.Client) -> None:
    def submitted(seed: int) -> httpx.Response:
        return client.post("/v1/jobs", files={"image": FOX}, data=fields(seed, steps=900, strength=1))

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(submitted, range(72)))
    taken = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code != 202]
    assert len(taken) == 64  # 32 of each
    assert {answer.status_code for answer in refused} == {429}
    assert all(answer.headers["retry-after"] for answer in refused)
    for id in taken:
        assert client.delete(f"/v1/jobs/{id}").status_code == 200


@pytest.mark.slow
def test_a_client_that_goes_away_frees_its_rows(client: httpx.Client) -> None:
    with pytest.raises(httpx.ReadTimeout):
        client.post(
            "/v1/jobs?wait=true",
            files={"image": FOX},
            data=fields(1, steps=1000, strength=1, n=16),
            timeout=2,
        )
    end = time.monotonic() + 20
    while any(open_jobs(client) for _ in range(4)):  # of whichever replica answers
        assert time.monotonic() < end
        time.sleep(0.2)


def open_jobs(client: httpx.Client) -> float:
    (line,) = [line for line in client.get("/metrics").text.splitlines() if line.startswith("overpaint_open_jobs ")]
    return float(line.split()[1])


def test_arguments_are_settings_and_a_scale() -> None:
    made = app({"models": "tiny", "max_replicas": "3", "device": "cuda", "queue_limit": 8})
    assert made is not None
    for wrong, field in (({"max_replicas": "x"}, "max_replicas"), ({"prot": "1"}, "prot"), ({"target": "0"}, "target")):
        with pytest.raises(InputError) as caught:
            app(wrong)
        assert caught.value.field == field
    with pytest.raises(InputError, match="less than"):
        Scale(min_replicas=2)
