"""Pictures by address: none unless it is set; and then none that is not public, whatever leads there."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpcore2
import pytest
from starlette.testclient import TestClient

from overpaint.errors import InputError
from overpaint.serving import fetch
from overpaint.serving.addresses import is_public, parse
from overpaint.serving.app import create_app
from overpaint.serving.fetch import PublicBackend, fetch_pictures
from overpaint.serving.service import Service
from overpaint.serving.settings import Settings
from tests.serving.conftest import text

Serve = Callable[..., Service]
PUBLIC = "93.184.216.34"


class Web(httpcore2.AsyncNetworkBackend):
    """The network of a test: every address leads to one server here, and is noted."""

    def __init__(self, port: int) -> None:
        self.connected: list[tuple[str, int]] = []
        self._port = port

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.connected.append((host, port))
        return await httpcore2.AnyIOBackend().connect_tcp("127.0.0.1", self._port, timeout)


@contextmanager
def answering(file: bytes) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """A server that has a picture and leads on; gives its port, and the hosts and paths that it is called for."""
    calls: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append((self.headers["host"], self.path))
            if self.path.startswith(("/to?", "/round")):
                self.send_response(302)
                self.send_header("location", self.path.removeprefix("/to?"))
                self.end_headers()
            elif self.path == "/endless":
                self.send_response(200)
                self.end_headers()
                while True:
                    self.wfile.write(bytes(2**16))
            elif self.path == "/slow":
                time.sleep(1)
            elif self.path == "/missing":
                self.send_error(404)
            else:
                self.send_response(200)
                self.send_header("content-length", str(len(file)))
                self.end_headers()
                self.wfile.write(file)

        def handle(self) -> None:
            with suppress(ConnectionError):  # who has enough goes away
                super().handle()

        def log_message(self, *words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], calls
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def web(file: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Web, list[tuple[str, str]]]]]:
    """Has every name lead to a public address, or to what a list says, one look-up after the other."""
    with answering(file) as (port, calls):

        def start(look_ups: Sequence[Sequence[str]] = ()) -> tuple[Web, list[tuple[str, str]]]:
            backend, left = Web(port), list(look_ups)

            async def resolve(host: str, port: int) -> Sequence[str]:
                return left.pop(0) if left else [PUBLIC]

            monkeypatch.setattr(fetch, "BACKEND", PublicBackend(resolve, backend))
            return backend, calls

        yield start


def fetched(document: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return asyncio.run(fetch_pictures(document, Settings(**{"fetch_urls": ("*",), **settings})))


def refused(url: str, words: str, **settings: Any) -> None:
    with pytest.raises(InputError, match=words) as caught:
        fetched({"image": url}, **settings)
    assert caught.value.field == "image"


def test_no_address_is_followed_unless_it_is_set(serve: Serve, web: Any) -> None:
    backend, _ = web()
    client = TestClient(create_app(serve()))
    answer = client.post("/v1/jobs", json={"image": "http://example.com/a.png"})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "image"
    assert not backend.connected


def test_where_it_is_set_every_interface_takes_addresses(serve: Serve, web: Any, file: bytes) -> None:
    web()
    client = TestClient(create_app(serve(fetch_urls=("example.com",))))
    said = {"prompt": "a", "steps": 2, "seed": 1}
    sent = client.post("/v1/jobs?wait=true", json={**said, "image": text(file)})
    by_address = client.post("/v1/jobs?wait=true", json={**said, "image": "http://example.com/a.png"})
    assert by_address.status_code == 200, by_address.text
    assert by_address.content == sent.content
    for call in (
        {"json": {**said, "image": "http://example.com/a"}},
        {"data": {**said, "image": "http://example.com/a"}},
    ):
        edit = client.post("/v1/images/edits", **call)
        assert edit.status_code == 200, edit.text
    other = client.post("/v1/images/edits", json={**said, "image": "http://other.com/a"})
    assert (other.status_code, other.json()["error"]["param"]) == (400, "image")


def test_addresses_are_taken_where_files_are(web: Any, file: bytes) -> None:
    _, calls = web()
    document = {
        "image": ["http://example.com/1", "aGVsbG8="],
        "mask": "HTTP://Example.com:80/a?q=1#part",
        "regions": [{"prompt": "http://example.com/prompt", "mask": "http://example.com/2"}],
        "prompt": "http://example.com/prompt",
        "steps": 3,
    }
    assert fetched(document) == {
        "image": [file, "aGVsbG8="],
        "mask": file,
        "regions": [{"prompt": "http://example.com/prompt", "mask": file}],
        "prompt": "http://example.com/prompt",
        "steps": 3,
    }
    assert calls == [("example.com", "/1"), ("example.com", "/a?q=1"), ("example.com", "/2")]
    assert fetched({"picture": "http://example.com"}) == {"picture": "http://example.com"}
    chosen = asyncio.run(fetch_pictures({"picture": "http://example.com"}, Settings(fetch_urls=("*",)), ("picture",)))
    assert chosen == {"picture": file}


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "017700000001",
        "0",
        "0.0.0.0",
        "localhost",
        "169.254.169.254",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "198.18.0.1",
        "192.0.0.192",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:93.184.216.34]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::1]",
        "[2001:0:7f00:1::1]",
        "[fe80::1]",
        "[fd00::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[2001:db8::1]",
    ],
)
def test_no_address_that_is_not_public_is_connected_to(host: str, web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, _ = web()
    # As this machine resolves it: every form of a number, too.
    monkeypatch.setattr(fetch, "BACKEND", PublicBackend(inner=backend))
    refused(f"http://{host}/latest/meta-data", "public address|not found")
    assert not backend.connected
    if host.startswith("["):
        return
    web([[PUBLIC], ["127.0.0.1"]])  # what leads there
    refused(f"http://example.com/to?http://{host}/", "public address")


def test_redirects_are_checked_like_the_first_address(web: Any, file: bytes) -> None:
    backend, calls = web()
    assert fetched({"image": "http://example.com/to?/a"}) == {"image": file}
    assert fetched({"image": "http://example.com/to?//other.com/to?http://example.com/b"}) == {"image": file}
    refused("http://example.com/to?//other.com/a", "none that this server", fetch_urls=("example.com",))
    refused("http://example.com/to?file:///etc/passwd", "no address of http")
    refused("http://example.com/to?http://example.com:22/", "none that this server")
    refused("http://example.com/round", "leads on more than 3")
    assert ("other.com", "/a") not in calls
    assert {port for _, port in backend.connected} == {80}


def test_a_name_that_changes_its_address_is_connected_to_where_it_was_checked(web: Any, file: bytes) -> None:
    backend, _ = web([["93.184.216.34"], ["127.0.0.1"], ["10.0.0.1"]])
    assert fetched({"image": "http://example.com/a"}) == {"image": file}
    assert backend.connected == [("93.184.216.34", 80)]  # the address, and not the name again
    refused("http://example.com/a", "public address")
    refused("http://example.com/a", "public address")
    web([[PUBLIC, "127.0.0.1"]])
    refused("http://example.com/a", "public address")  # one of several
    web([[]])
    refused("http://example.com/a", "public address")


def test_hosts_and_ports_are_those_of_the_list(web: Any, file: bytes) -> None:
    backend, _ = web()
    entries = ("*.example.com", "pictures.org:8080")
    for url in ("http://a.example.com/", "http://a.b.example.com./", "http://pictures.org:8080/"):
        assert fetched({"image": url}, fetch_urls=entries) == {"image": file}
    assert [port for _, port in backend.connected] == [80, 80, 8080]
    for url in (
        "http://example.com/",
        "http://badexample.com/",
        "http://a.example.com:8080/",
        "http://pictures.org/",
        "http://a.example.com.evil.org/",
    ):
        refused(url, "none that this server", fetch_urls=entries)
    refused("http://user:secret@a.example.com/", "user's name", fetch_urls=entries)
    refused("http://a.example.com:99999/", "cannot be fetched", fetch_urls=entries)
    refused("http://[::1/", "cannot be fetched", fetch_urls=entries)
    refused("http:///path", "no host", fetch_urls=entries)
    refused("http://a.example.com/\r\nX: 1", "no address", fetch_urls=entries)
    for entry in ("http://example.com", "a b", "*.*", "", "example.com/path", "*example.com"):
        with pytest.raises(InputError) as caught:
            Settings(fetch_urls=(entry,))
        assert caught.value.field == "fetch_urls"


def test_what_comes_is_limited_in_bytes_time_and_number(web: Any, file: bytes) -> None:
    web()
    refused("http://example.com/endless", "larger than 200000 bytes", max_body=200_000)
    refused("http://example.com/slow", "within 0.2 seconds", fetch_seconds=0.2)
    refused("http://example.com/missing", "answers 404")
    with pytest.raises(InputError, match="more than 2 addresses"):
        fetched({"image": ["http://example.com/a"] * 3}, max_images=2)
    with pytest.raises(InputError, match="larger than"):  # together
        fetched({"image": ["http://example.com/a"] * 3}, max_body=2 * len(file))


def test_what_is_no_picture_is_said_and_not_shown(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(b"a secret of the host's own") as (port, _):

        async def resolve(host: str, port: int) -> Sequence[str]:
            return [PUBLIC]

        monkeypatch.setattr(fetch, "BACKEND", PublicBackend(resolve, Web(port)))
        client = TestClient(create_app(serve(fetch_urls=("*",))))
        answer = client.post("/v1/jobs", json={"image": "http://example.com/a.png"})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "image"
    assert "secret" not in answer.text


def test_addresses_are_parsed_as_they_are_called() -> None:
    assert parse("http://bücher.example/ä?ö").authority == "xn--bcher-kva.example"
    assert parse("http://bücher.example/ä?ö").target == "/%C3%A4?%C3%B6"
    assert parse("https://[2606:4700::1]:8443/a%20b").authority == "[2606:4700::1]:8443"
    assert parse("https://example.com").target == "/"
    assert is_public("2606:4700::1111")
    assert is_public("8.8.8.8")
    assert not is_public("example.com")
