"""Keys: wanted at every route of every interface, before anything of the call is looked at, each for its own jobs."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from starlette.routing import BaseRoute, Mount, Route
from starlette.testclient import TestClient

from overpaint.serving import guard
from overpaint.serving.app import create_app
from overpaint.serving.service import Service
from tests.serving.conftest import text

KEYS = ("first-of-the-keys", "second-of-the-keys")
MINE, OTHER = {"authorization": f"Bearer {KEYS[0]}"}, {"x-api-key": KEYS[1]}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")
WRONG: Sequence[dict[str, str]] = (
    {},
    {"x-api-key": ""},
    {"x-api-key": KEYS[0][:-1]},
    {"x-api-key": KEYS[0] + "x"},
    {"x-api-key": KEYS[0].upper()},
    {"x-api-key": ",".join(KEYS)},
    {"x-api-key": "\xff\xfe"},
    {"authorization": KEYS[0]},
    {"authorization": f"Basic {KEYS[0]}"},
    {"authorization": "Bearer "},
    {"authorization": f"Bearer {KEYS[0]} {KEYS[0]}"},
    {"authorization": "Bearer wrong", "x-api-key": KEYS[0]},
    {"cookie": f"x-api-key={KEYS[0]}"},
    {"api-key": KEYS[0]},
)


@pytest.fixture
def client(serve: Callable[..., Service]) -> TestClient:
    return TestClient(create_app(serve(api_keys=KEYS)), raise_server_exceptions=False)


def paths(routes: Sequence[BaseRoute], before: str = "") -> Iterator[str]:
    """The paths of all routes, those of the page left out, whose files are the same for everybody."""
    for route in routes:
        if isinstance(route, Mount):
            yield from paths(route.routes, before + route.path)
        else:
            assert isinstance(route, Route), route
            if not (route.name or "").startswith("page"):
                yield before + route.path


def test_no_route_of_any_interface_answers_without_a_key(client: TestClient) -> None:
    app: Any = client.app
    found = set(paths(app.routes))
    assert {"/v1/jobs", "/v1/images/edits", "/v1/models", "/metrics", "/healthz", "/openapi.json"} <= found
    for path in (*found, "/nowhere", "/v1/jobs/", "//v1/jobs", "/v1/../v1/jobs", "/V1/JOBS"):
        called = path.replace("{id}", "1").replace("{", "").replace("}", "")
        for method in METHODS:
            answer = client.request(method, called, params={"api_key": KEYS[0]})
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"].split()[0] in ("Bearer", "Basic")


def test_a_key_that_is_nearly_right_is_wrong(client: TestClient) -> None:
    for headers in WRONG:
        sent = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        assert client.get("/readyz", headers=sent).status_code == 401, headers
    for headers in (MINE, OTHER, {"authorization": f"bearer  {KEYS[1]}"}):
        assert client.get("/readyz", headers=headers).status_code == 200


def test_every_key_is_compared_whichever_is_right(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(given: bytes, key: bytes) -> bool:
        compared.append(key)
        return hmac.compare_digest(given, key)

    monkeypatch.setattr(guard, "hmac", type("Comparing", (), {"compare_digest": staticmethod(compare)}))
    for headers in (MINE, OTHER, {}):
        compared.clear()
        client.get("/readyz", headers=headers)
        assert compared == [key.encode() for key in KEYS]


def test_no_body_is_read_without_a_key(client: TestClient) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    app: Any = client.app
    for path in ("/v1/jobs", "/v1/images/edits", "/v1/images/generations"):
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [(b"host", b"here")]}
        asyncio.run(app({**scope, "http_version": "1.1", "scheme": "http", "server": None}, receive, send))
    assert [message["status"] for message in sent if "status" in message] == [401] * 3


def test_a_job_is_its_own_keys(client: TestClient, file: bytes) -> None:
    document = {"image": text(file), "prompt": "a", "steps": 2}
    headers = {"idempotency-key": "the-same"}
    mine = client.post("/v1/jobs", json=document, headers={**MINE, **headers}).json()["id"]
    theirs = client.post("/v1/jobs", json=document, headers={**OTHER, **headers}).json()["id"]
    assert mine != theirs
    assert client.get(f"/v1/jobs/{mine}/events", headers=MINE).status_code == 200
    for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/result"), ("DELETE", "")):
        answer = client.request(method, f"/v1/jobs/{mine}{path}", headers=OTHER)
        unknown = client.request(method, f"/v1/jobs/{'0' * len(mine)}{path}", headers=OTHER)
        assert answer.status_code == unknown.status_code == 404
        assert answer.json()["error"]["message"].replace(mine, "") == unknown.json()["error"]["message"].replace(
            "0" * len(mine), ""
        )
    assert client.get(f"/v1/jobs/{mine}/result", headers=MINE).status_code == 200
    edit = client.post("/v1/images/edits", json={**document, "response_format": "url"}, headers=MINE)
    url = edit.json()["data"][0]["url"]
    assert [client.get(url, headers=headers).status_code for headers in (MINE, OTHER, {})] == [200, 404, 401]
