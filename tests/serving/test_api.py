"""The server's own interface on the fake engine, in this process."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from io import BytesIO, StringIO
from operator import itemgetter
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import overpaint
from overpaint import Pipeline
from overpaint.bundles.upscaler import UpscalerBundle
from overpaint.runtime.model.model import Model
from overpaint.serving.app import create_app
from overpaint.serving.logs import write_lines
from overpaint.serving.service import Service
from overpaint.serving.settings import Settings
from tests.serving.conftest import QUICK, counting, png, text
from tests.support.engines import until

Serve = Callable[..., Service]
Slow = Callable[[float], None]
OPTIONS: dict[str, Any] = {"prompt": "a", "seed": 1, "steps": 4, "strength": 1.0, "sampler": "euler_a"}


@pytest.fixture
def connect(serve: Serve) -> Callable[..., TestClient]:
    """Makes a client of a service of settings by name."""
    return lambda **settings: TestClient(create_app(serve(**settings)), raise_server_exceptions=False)


@pytest.fixture
def client(connect: Callable[..., TestClient]) -> TestClient:
    """A client of the usual service."""
    return connect()


def document(file: bytes, **more: Any) -> dict[str, Any]:
    return {"image": text(file), **OPTIONS, **more}


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(BytesIO(data)))


def until_done(client: TestClient, id: str) -> dict[str, Any]:
    for _ in range(1000):
        found: dict[str, Any] = client.get(f"/v1/jobs/{id}").json()
        if found["status"] not in ("queued", "running"):
            return found
        time.sleep(0.01)
    raise AssertionError(found)


def events(client: TestClient, id: str, query: str = "") -> list[tuple[str, dict[str, Any]]]:
    lines = client.get(f"/v1/jobs/{id}/events{query}").text.split("\n\n")
    parts = [line.split("\n", 1) for line in lines if line.startswith("event: ")]
    return [(head.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for head, data in parts]


def error(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()["error"]
    assert set(found) == {"message", "type", "field"}
    assert response.headers["x-request-id"]
    return found


def test_a_job_is_submitted_looked_at_and_fetched(client: TestClient, file: bytes, lone: Pipeline) -> None:
    response = client.post("/v1/jobs", json=document(file))
    assert response.status_code == 202
    id = response.json()["id"]
    assert response.headers["location"] == f"/v1/jobs/{id}"
    done = until_done(client, id)
    assert done["status"] == "done"
    assert done["progress"] == {"done": 4, "total": 4, "fraction": 1.0}
    assert done["result"]["pictures"][0]["seed"] == 1
    result = client.get(f"/v1/jobs/{id}/result")
    assert result.headers["content-type"] == "image/png"
    assert np.array_equal(pixels(result.content), np.asarray(lone(file, **OPTIONS).images[0]))
    shown = client.get(f"/v1/jobs/{id}/result", headers={"accept": "application/json"}).json()
    assert base64.b64decode(shown["result"]["pictures"][0]["data"]) == result.content
    assert pixels(client.get(f"/v1/jobs/{id}/result?format=webp").content).shape == (40, 56, 3)


def test_a_client_that_waits_gets_the_picture(client: TestClient, file: bytes) -> None:
    response = client.post("/v1/jobs?wait=true", json=document(file, format="jpeg"))
    assert response.headers["content-type"] == "image/jpeg"
    several = client.post("/v1/jobs?wait=true", json=document(file, n=2)).json()
    assert [picture["seed"] for picture in several["result"]["pictures"]] == [1, 2]
    second = client.post("/v1/jobs?wait=true&format=png&index=1", json=document(file, n=2))
    assert base64.b64decode(several["result"]["pictures"][1]["data"]) == second.content


def test_a_form_says_what_json_does(client: TestClient, file: bytes, mask_file: bytes) -> None:
    fields = {"verb": "inpaint", "prompt": "a", "seed": "1", "steps": "4", "strength": "1.0", "only_masked": "true"}
    files = {"image": ("in.png", file), "mask": ("mask.png", mask_file)}
    form = client.post("/v1/jobs?wait=true", data=fields, files=files)
    sent = document(file, verb="inpaint", mask="data:image/png;base64," + text(mask_file), only_masked=True)
    del sent["sampler"]
    assert form.status_code == 200, form.text
    assert form.content == client.post("/v1/jobs?wait=true", json=sent).content


@pytest.mark.parametrize(
    "more",
    [
        {"verb": "inpaint", "mask": "MASK"},
        {"verb": "outpaint", "right": 16},
        {"verb": "upscale", "scale": 2, "tile": 32, "sampler": "ddim"},
        {"verb": "grid", "axes": {"strength": [0.5, 1.0], "cfg_scale": [1, 3]}, "cell": 64},
        {"regions": [{"prompt": "q", "mask": "MASK"}]},
        {"inpaint_mask": {"mask": "MASK", "differential": True}},
        {"prompts": [[0, "a"], [0.5, "b"]], "prompt": None},
        {"size": [64, 64], "resize_mode": "crop", "denoising_strength": 0.5, "strength": None},
    ],
)
def test_every_verb_and_every_place_can_be_said(
    more: dict[str, Any], client: TestClient, file: bytes, mask_file: bytes
) -> None:
    said = json.loads(json.dumps(document(file, **more)).replace("MASK", text(mask_file)))
    response = client.post("/v1/jobs?wait=true", json=said)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"


def test_an_upscaler_makes_the_first_enlargement(
    model: Model, upscaler: UpscalerBundle, file: bytes, fake: Pipeline
) -> None:
    first = overpaint.load_upscaler(upscaler.folder, engine="onnxruntime")
    service = Service({"fake": model}, Settings(**QUICK), {"esrgan": first})
    service.start()
    client = TestClient(create_app(service))
    assert client.get("/v1/models").json()["upscalers"] == ["esrgan"]
    said = {"verb": "upscale", "image": text(file), "scale": 2, "tile": 32, "strength": 0, "upscaler": "esrgan"}
    made = client.post("/v1/jobs?wait=true", json=said)
    assert np.array_equal(pixels(made.content), first(pixels(file)))
    service.close()


def test_events_tell_of_steps_previews_and_the_end(client: TestClient, file: bytes, slow: Slow) -> None:
    slow(0.02)
    id = client.post("/v1/jobs", json=document(file, steps=20)).json()["id"]
    told = events(client, id)
    kinds = [kind for kind, _ in told]
    assert kinds[0] == "status"
    assert kinds[-1] == "end"
    assert told[-1][1]["status"] == "done"
    done = [data["done"] for kind, data in told if kind == "progress"]
    assert done == sorted(done)
    assert len(done) > 3
    previews = [data["data"] for kind, data in told if kind == "preview"]
    assert previews
    assert pixels(base64.b64decode(previews[0].partition(",")[2])).shape == (40, 56, 3)
    assert [kind for kind, _ in events(client, id)] == ["end"]  # of one that has ended
    id = client.post("/v1/jobs", json=document(file, steps=20)).json()["id"]
    assert "preview" not in {kind for kind, _ in events(client, id, "?previews=false")}


def test_a_job_is_cancelled(client: TestClient, file: bytes, slow: Slow, model: Model) -> None:
    slow(0.02)
    id = client.post("/v1/jobs", json=document(file, steps=500)).json()["id"]
    assert error(client.get(f"/v1/jobs/{id}/result"), 409)["type"] == "not_done"
    assert client.delete(f"/v1/jobs/{id}").json()["status"] == "cancelled"
    assert error(client.get(f"/v1/jobs/{id}/result"), 409)["type"] == "cancelled"
    time.sleep(0.1)
    assert not model.scheduler.tickets


def calls_alone(app: Any, body: bytes, away: Callable[[], bool], more: bool = False) -> int | None:
    """The status of an answer to a client that goes away once `away` says so."""
    status: list[int] = []

    async def call() -> None:
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": more}
            while not away():
                await asyncio.sleep(0.002)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            status.extend([message["status"]] if "status" in message else [])

        headers = [(b"content-type", b"application/json"), (b"host", b"here")]
        scope = {"type": "http", "method": "POST", "path": "/v1/jobs", "query_string": b"wait=true"}
        await app({**scope, "headers": headers, "http_version": "1.1", "scheme": "http", "server": None}, receive, send)

    asyncio.run(asyncio.wait_for(call(), 20))
    return status[0] if status else None


@pytest.mark.slow
def test_of_a_thousand_clients_that_go_away_none_leaves_rows(
    serve: Serve, file: bytes, slow: Slow, model: Model
) -> None:
    service = serve()
    slow(0.005)
    app, engine = create_app(service), model.stages.denoiser.engine
    for seed in range(1000):
        body = json.dumps(document(file, steps=500, seed=seed)).encode()
        calls_alone(app, body, lambda: any(job.done for job in service.jobs.open()))
        assert not service.jobs.open()
        calls = len(counting(engine).rows)
        while model.scheduler.tickets:
            time.sleep(0.001)
        assert len(counting(engine).rows) <= calls + 1


@pytest.mark.parametrize("policy", ["cancel", "keep"])
def test_a_waiting_client_that_goes_away_frees_its_rows(
    policy: str, serve: Serve, file: bytes, slow: Slow, model: Model
) -> None:
    service = serve(on_disconnect=policy)
    slow(0.02)
    for _ in range(5):
        steps = 500 if policy == "cancel" else 10
        body = json.dumps(document(file, steps=steps)).encode()
        started = lambda: any(job.done for job in service.jobs.open())  # noqa: E731
        calls_alone(create_app(service), body, started)
        if policy == "cancel":
            assert not service.jobs.open()
            time.sleep(0.05)
            assert not model.scheduler.tickets
        else:
            service.jobs.open()[0].future.result(20)
    statuses = {job.status for job in service.jobs.ended()}
    assert statuses == {"cancelled" if policy == "cancel" else "done"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"strength": 2}, "strength"),
        ({"strength": "much"}, "strength"),
        ({"steps": [1]}, "steps"),
        ({"seed": {}}, "seed"),
        ({"n": "2"}, "n"),
        ({"n": 1000}, "n"),
        ({"strenght": 0.5}, "strenght"),
        ({"font": "/etc/passwd"}, "font"),
        ({"on_step": 1}, "on_step"),
        ({"image": None}, "image"),
        ({"image": "/etc/passwd"}, "image"),
        ({"image": "http://127.0.0.1/a.png"}, "image"),
        ({"image": "data:image/png,abc"}, "image"),
        ({"image": "aGVsbG8="}, "image"),
        ({"image": 3}, "image"),
        ({"mask": "aGVsbG8="}, "mask"),
        ({"verb": "paint"}, "verb"),
        ({"verb": []}, "verb"),
        ({"verb": "inpaint"}, "mask"),
        ({"verb": "grid", "axes": {}}, None),
        ({"verb": "grid", "axes": {"strength": [[]]}}, "strength"),
        ({"verb": "grid", "axes": {"nonsense": [1]}}, "axes"),
        ({"verb": "grid", "axes": {"seed": [*range(100)]}}, "axes"),
        ({"verb": "upscale", "scale": 1000, "tile": 32}, None),
        ({"verb": "outpaint"}, "left"),
        ({"model": "nonsense"}, "model"),
        ({"model": 3}, "model"),
        ({"upscaler": "x"}, "upscaler"),
        ({"verb": "upscale", "tile": 32, "upscaler": "../x"}, "upscaler"),
        ({"size": [16384, 16384]}, "size"),
        ({"regions": [{}]}, "regions"),
        ({"regions": [{"prompt": "a", "mask": "aGVsbG8="}]}, "regions"),
        ({"inpaint_mask": {"mask": 1}}, "inpaint_mask"),
        ({"prompts": [[2, "a"]]}, "prompts"),
        ({"format": "gif"}, "format"),
        ({"priority": 99}, "priority"),
        ({"share": "yes"}, "share"),
        ({"timeout": -1}, "timeout"),
        ({"steps": 5, "num_inference_steps": 6}, "steps"),
    ],
)
def test_what_cannot_be_used_is_named(
    changes: dict[str, Any], field: str | None, client: TestClient, file: bytes
) -> None:
    found = error(client.post("/v1/jobs", json=document(file, **changes)), 400)
    assert found["type"] == "invalid_input"
    if field:
        assert found["field"] == field, found


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (b"{", "application/json", 400, "no JSON"),
        (b"\xff", "application/json", 400, "no JSON"),
        (b"[]", "application/json", 400, "no JSON object"),
        (b'{"seed": NaN}', "application/json", 400, "NaN"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "application/json", 400, "no JSON"),
        (b'{"a":' * 30 + b"1" + b"}" * 30, "application/json", 400, "levels"),
        (b"[" * 200_000, "application/json", 400, "levels"),
        (b"x" * 5000, "application/json", 413, "more than 4000 bytes"),
        (b"x", "text/plain", 415, "is not read"),
        (b"x", "multipart/form-data", 400, "boundary"),
    ],
)
def test_bodies_are_limited(
    body: bytes, kind: str, status: int, words: str, connect: Callable[..., TestClient]
) -> None:
    client = connect(max_body=4000 if status == 413 else 2**20)
    headers = {"content-type": kind}
    assert words in error(client.post("/v1/jobs", content=body, headers=headers), status)["message"]
    assert words in error(client.post("/v1/jobs", content=iter([body]), headers=headers), status)["message"]
    assert client.get("/readyz").status_code == 200


def test_pictures_are_limited(connect: Callable[..., TestClient]) -> None:
    client = connect(max_pixels=10_000)
    large = png(np.zeros((200, 200, 3), np.uint8))
    assert error(client.post("/v1/jobs", json=document(large)), 400)["field"] == "image"
    small = png(np.zeros((64, 64, 3), np.uint8))
    upscale = document(small, verb="upscale", scale=2, tile=32)
    assert error(client.post("/v1/jobs", json=upscale), 400)["field"] == "scale"


def test_a_full_queue_is_said_before_the_body_is_read(
    connect: Callable[..., TestClient], file: bytes, slow: Slow
) -> None:
    client = connect(queue_limit=2)
    slow(0.05)
    headers = {"idempotency-key": "k"}
    first = client.post("/v1/jobs", json=document(file, steps=50), headers=headers).json()
    client.post("/v1/jobs", json=document(file, steps=50))
    start = time.perf_counter()
    full = client.post("/v1/jobs", content=b"never read")
    assert time.perf_counter() - start < 0.1
    assert error(full, 429)["type"] == "busy"
    assert int(full.headers["retry-after"]) >= 1
    # What was taken before is answered all the same.
    again = client.post("/v1/jobs", json=document(file, steps=50), headers=headers)
    assert again.json()["id"] == first["id"]
    client.delete(f"/v1/jobs/{first['id']}")


def test_a_late_job_is_a_timeout(client: TestClient, file: bytes, slow: Slow) -> None:
    slow(0.05)
    late = client.post("/v1/jobs?wait=true", json=document(file, steps=500, timeout=0.2))
    assert error(late, 504)["type"] == "timeout"


def test_pages_of_other_origins_may_not_call(connect: Callable[..., TestClient]) -> None:
    client = connect()
    assert error(client.post("/v1/jobs", headers={"origin": "http://evil"}), 403)["type"] == "forbidden_origin"
    assert client.get("/readyz", headers={"origin": "http://testserver"}).status_code == 200
    assert "access-control-allow-origin" not in client.get("/readyz").headers
    open_ = connect(origins=("http://friend",))
    answer = open_.get("/readyz", headers={"origin": "http://friend"})
    assert answer.headers["access-control-allow-origin"] == "http://friend"


def test_a_name_that_is_not_its_own_is_refused(connect: Callable[..., TestClient]) -> None:
    client = connect(hosts=())
    assert error(client.get("/readyz"), 421)["type"] == "wrong_host"
    for name in ("localhost:8188", "127.0.0.1", "[::1]:8188"):
        assert client.get("/readyz", headers={"host": name}).status_code == 200
    for name in ("[", "evil.localhost", "127.0.0.1.evil", ""):
        assert client.get("/readyz", headers={"host": name}).status_code == 421
    assert connect(hosts=(), host="0.0.0.0").get("/readyz").status_code == 200


def test_a_body_that_does_not_come_gives_its_place_back(connect: Callable[..., TestClient], file: bytes) -> None:
    client = connect(body_seconds=0.1, queue_limit=1)
    app: Any = client.app
    assert calls_alone(app, b"", lambda: False, more=True) == 408
    assert client.post("/v1/jobs?wait=true", json=document(file)).status_code == 200


def test_models_and_options_are_described(client: TestClient) -> None:
    (model,) = client.get("/v1/models").json()["models"]
    assert model["id"] == "fake"
    for verb in ("img2img", "inpaint", "outpaint", "upscale", "grid"):
        schema = client.get(f"/v1/options?verb={verb}").json()
        assert {"image", "strength", "model"} <= schema["properties"].keys()
        assert schema["properties"]["strength"]["maximum"] == 1
    assert error(client.get("/v1/options?verb=nonsense"), 400)["field"] == "verb"
    api = client.get("/openapi.json").json()
    app: Any = client.app
    assert {route.path for route in app.routes if not route.name.startswith("page")} == {*api["paths"], "/openapi.json"}
    assert set(api["components"]["schemas"]) == {"img2img", "inpaint", "outpaint", "upscale", "grid", "job", "error"}


def test_what_operators_look_at(client: TestClient, file: bytes) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "jobs": []}
    assert client.get("/readyz").json() == {"status": "ready"}
    for _ in range(2):
        client.post("/v1/jobs?wait=true", json=document(file, guidance_scale=3))
    client.post("/v1/jobs", json=document(file, strength=2))
    shown = client.get("/metrics").text
    for line in (
        'overpaint_jobs_total{model="fake",status="done",verb="img2img"} 2.0',
        'overpaint_evaluations_total{model="fake"} 8.0',
        'overpaint_call_rows_count{model="fake"} 8.0',
        'overpaint_call_rows_sum{model="fake"} 16.0',
        'overpaint_cache_hits_total{model="fake",stage="text"} 2.0',
        'overpaint_errors_total{type="invalid_input"} 1.0',
        "overpaint_open_jobs 0.0",
        "overpaint_ready 1.0",
    ):
        assert line in shown, line
    assert 'overpaint_stage_seconds_total{model="fake",stage="denoise"}' in shown


def test_calls_and_jobs_are_logged_with_the_requests_id(client: TestClient, file: bytes) -> None:
    stream = StringIO()
    write_lines("json", stream)
    client.post("/v1/jobs?wait=true", json=document(file), headers={"x-request-id": "me-1"})
    until(lambda: stream.getvalue().count("\n") == 2)
    write_lines("none")
    client.get("/readyz")
    call, job = sorted(map(json.loads, stream.getvalue().splitlines()), key=itemgetter("event"))
    assert (job["event"], job["request"], job["status"]) == ("job", "me-1", "done")
    assert (call["event"], call["request"], call["status"], call["path"]) == ("call", "me-1", 200, "/v1/jobs")


def test_what_is_not_counted_is_not_there(connect: Callable[..., TestClient], model: Model) -> None:
    engine = model.stages.denoiser.engine
    client = connect(metrics=False)
    assert model.stages.denoiser.engine is engine
    assert client.get("/metrics").status_code == 404


def test_a_job_that_shows_no_sign_of_work_is_unhealthy(
    connect: Callable[..., TestClient], file: bytes, slow: Slow
) -> None:
    client = connect(watchdog_seconds=0.05)
    slow(0.5)
    id = client.post("/v1/jobs", json=document(file)).json()["id"]
    time.sleep(0.3)
    assert client.get("/healthz").json() == {"status": "stalled", "jobs": [id]}
    client.delete(f"/v1/jobs/{id}")


def test_unknown_places_are_said_in_json(client: TestClient) -> None:
    assert error(client.get("/nowhere"), 404)["type"] == "not_found"
    assert error(client.put("/v1/jobs"), 405)["type"] == "method_not_allowed"
    assert error(client.get("/v1/jobs/1"), 404)["type"] == "not_found"
    assert error(client.get("/v1/jobs/..%2f..%2fetc"), 404)
