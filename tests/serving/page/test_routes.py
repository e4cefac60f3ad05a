"""The files of the page: their headers, and that they lead nowhere else."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import overpaint
from overpaint.serving.app import create_app
from overpaint.serving.page.files import EXAMPLES, page_files
from overpaint.serving.service import Service

STATIC = Path(overpaint.__file__).parent / "serving/page/static"
NAMESPACES = {"http://www.w3.org/2000/svg"}


@pytest.fixture
def connect(serve: Callable[..., Service]) -> Callable[..., TestClient]:
    """Makes a client of a service of settings by name."""
    return lambda **settings: TestClient(create_app(serve(**settings)), raise_server_exceptions=False)


@pytest.fixture
def client(connect: Callable[..., TestClient]) -> TestClient:
    """A client of the usual service."""
    return connect()


def texts() -> dict[str, str]:
    """Our own files of text by their path."""
    return {name: file.data.decode() for name, file in page_files().items() if name.endswith((".html", ".js", ".css"))}


def test_the_page_and_its_files_are_answered(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>overpaint</title>" in page.text
    for name, file in page_files().items():
        answer = client.get(f"/page/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, file.kind), name
        assert answer.content == file.data


def test_all_that_the_page_names_is_there() -> None:
    table = page_files()
    for name, text in texts().items():
        if name.startswith("vendor/"):
            continue
        for path in re.findall(r"(?:href|src)=\"page/([^\"]+)\"", text):
            assert path in table, (name, path)
        for path in re.findall(r"from \"\./([^\"]+)\"", text):
            assert f"js/{path}" in table, (name, path)
    (offered,) = re.findall(r"const EXAMPLES = \{(.*?)\};", texts()["js/sources.js"], flags=re.S)
    assert re.findall(r"\"?([\w-]+)\"?: \"", offered) == list(EXAMPLES)
    assert {f"examples/{name}.png" for name in EXAMPLES} <= set(table)


def test_the_policy_lets_nothing_in_from_outside(client: TestClient) -> None:
    for path in ("/", "/page/js/main.js", "/page/icon.svg"):
        headers = client.get(path).headers
        rules = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_no_file_of_ours_names_an_address_outside_or_needs_what_the_policy_forbids() -> None:
    for name, text in texts().items():
        if not name.startswith("vendor/"):
            assert set(re.findall(r"https?://[^\s\"')<]+", text)) <= NAMESPACES, name
    page = texts()["index.html"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style", page)
    assert not re.search(r"\beval\(|new Function\(", texts()["vendor/konva-10.9.1.min.js"])


def test_the_vendored_library_has_its_licence_beside_it() -> None:
    assert "MIT License" in page_files()["vendor/konva-10.9.1.LICENSE.txt"].data.decode()
    assert "v10.9.1" in texts()["vendor/konva-10.9.1.min.js"][:300]


def test_what_a_browser_has_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/page/js/main.js")
    for known in (first.headers["etag"], f'"other", W/{first.headers["etag"]}', "*"):
        again = client.get("/page/js/main.js", headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    assert client.get("/page/js/main.js", headers={"if-none-match": '"other"'}).status_code == 200


def test_texts_go_compressed_where_that_is_understood(client: TestClient) -> None:
    file = page_files()["vendor/konva-10.9.1.min.js"]
    assert file.packed is not None
    assert gzip.decompress(file.packed) == file.data
    plain = client.get("/page/vendor/konva-10.9.1.min.js", headers={"accept-encoding": "identity"})
    packed = client.get("/page/vendor/konva-10.9.1.min.js", headers={"accept-encoding": "gzip"})
    assert plain.headers.get("content-encoding") is None
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.content == packed.content
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 3


@pytest.mark.parametrize(
    "path", ["files.py", "../files.py", "%2e%2e/files.py", "js", "js/", "", "/etc/passwd", "js/none.js"]
)
def test_what_is_no_file_of_the_page_is_not_there(client: TestClient, path: str) -> None:
    answer = client.get(f"/page/{path}")
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "not_found"


def test_only_the_page_is_read_without_a_key(connect: Callable[..., TestClient]) -> None:
    client = connect(api_keys=("a-long-secret",))
    assert client.get("/").status_code == 200
    assert client.get("/page/js/main.js").status_code == 200
    for path in ("/v1/models", "/v1/jobs", "/metrics", "/pages", "/page", "/nowhere"):
        assert client.get(path).status_code == 401, path
    for path in ("/", "/page/js/main.js"):
        assert client.post(path).status_code == 401
    assert client.get("/", headers={"host": "evil"}).status_code == 421


def test_the_page_can_be_left_out(connect: Callable[..., TestClient]) -> None:
    client = connect(page=False, api_keys=("a-long-secret",))
    for path in ("/", "/page/js/main.js"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"x-api-key": "a-long-secret"}).status_code == 404


def test_every_file_is_installed() -> None:
    endings: Any = {path.suffix for path in STATIC.rglob("*.*")}
    assert endings <= {".html", ".js", ".css", ".svg", ".txt"}
    depths = {len(path.relative_to(STATIC).parts) for path in STATIC.rglob("*.*")}
    assert depths == {1, 2}, "package-data of pyproject.toml names static/*.* and static/*/*.*"
