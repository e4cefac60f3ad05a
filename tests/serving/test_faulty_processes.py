"""Processes that serve, whose engine hangs and which are killed: what clients see, and what takes over."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from overpaint.serving.watchdog import HUNG
from tests.serving.conftest import Start, text
from tests.support.engines import until
from tests.test_readme import ROOT

FAKE = ("--engine", "fake", "--warm-up", "")


def started(start: Start, folder: Path, bundle: Path, *flags: str, **options: Any) -> Any:
    """A server whose engine obeys `folder / "switch"`."""
    program = ("-m", "tests.support.faulty_server", str(folder / "switch"))
    return start("--models", f"fake={bundle}", *FAKE, *flags, program=program, cwd=ROOT, **options)


@pytest.mark.parametrize("fault", ["hang", pytest.param("hold", marks=pytest.mark.slow)])
def test_an_engine_that_hangs_ends_the_process(
    fault: str, start: Start, fake_folder: Path, tmp_path: Path, file: bytes
) -> None:
    process, client = started(start, tmp_path, fake_folder, "--watchdog-seconds", "1", "--on-hang", "exit")
    document = {"image": text(file), "prompt": "a", "steps": 5}
    assert client.post("/v1/jobs?wait=true", json=document).status_code == 200
    (tmp_path / "switch").write_text(fault)
    if fault == "hang":
        with ThreadPoolExecutor(3) as threads:
            made = list(threads.map(lambda _: client.post("/v1/jobs?wait=true", json=document), range(3)))
        for each in made:
            assert each.status_code == 503
            assert each.json()["error"]["type"] == "engine_hung"
        assert process.wait(20) == HUNG
    else:  # nothing answers any more
        with pytest.raises(httpx.HTTPError):
            client.post("/v1/jobs?wait=true", json=document)
        assert process.wait(20) == 1


@pytest.mark.slow
def test_an_engine_that_hangs_is_reported_and_does_not_outlive_a_drain(
    start: Start, fake_folder: Path, tmp_path: Path, file: bytes
) -> None:
    process, client = started(
        start, tmp_path, fake_folder, "--watchdog-seconds", "0.5", "--drain-seconds", "1", "--linger-seconds", "0"
    )
    (tmp_path / "switch").write_text("hang")
    client.post("/v1/jobs", json={"image": text(file), "prompt": "a", "steps": 5})
    until(lambda: client.get("/healthz").status_code == 503)
    assert client.get("/healthz").json()["status"] == "stalled"
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == HUNG


def test_systemd_is_told(start: Start, fake_folder: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(10)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        process, _ = start("--models", f"fake={fake_folder}", *FAKE, "--linger-seconds", "0", env=environment)
        assert channel.recv(64) in (b"READY=1", b"WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        words = {channel.recv(64)}
        while b"STOPPING=1" not in words:
            words.add(channel.recv(64))
    assert process.wait(20) == 0


def worker_of(process: Any) -> psutil.Process:
    """The process that a supervisor has serve, once there is one."""
    until(lambda: bool(psutil.Process(process.pid).children()), 60)
    (worker,) = psutil.Process(process.pid).children()
    return worker


def kills(start: Start, bundle: Path, file: bytes, times: int) -> Counter[str]:
    """What clients see of a worker that is killed again and again while it works for them."""
    process, client = start("--models", f"fake={bundle}", *FAKE, "--supervise", "true")
    document = {"image": text(file), "prompt": "a", "steps": 900, "strength": 1.0, "n": 4}
    seen = Counter[str]()

    def call(seed: int) -> str:
        try:
            made = client.post("/v1/jobs?wait=true", json={**document, "seed": seed})
        except httpx.TransportError:
            return "broken"
        return made.json()["error"]["type"] if made.is_error else "answered"

    def ready() -> bool:
        try:
            return client.get("/readyz").status_code == 200
        except httpx.TransportError:  # a connection of before
            return False

    with ThreadPoolExecutor(4) as threads:
        for number in range(times):
            worker = worker_of(process)
            id = client.post("/v1/jobs", json=document).json()["id"]
            calls = [threads.submit(call, seed) for seed in range(4)]
            until(lambda: client.get(f"/v1/jobs/{id}").json()["status"] == "running", 60)  # noqa: B023
            time.sleep(0.02 * (number % 5))
            worker.kill()
            seen.update(each.result() for each in calls)
            until(ready, 60)
            assert client.get(f"/v1/jobs/{id}").status_code == 404
            small = client.post("/v1/jobs?wait=true", json={**document, "steps": 3, "n": 1})
            assert small.status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    return seen


def test_a_worker_that_is_killed_is_started_again(start: Start, fake_folder: Path, file: bytes) -> None:
    seen = kills(start, fake_folder, file, 1)
    assert seen.total() == 4
    assert set(seen) <= {"broken", "starting", "answered"}


@pytest.mark.slow
def test_a_worker_that_is_killed_fifty_times_is_started_as_often(start: Start, fake_folder: Path, file: bytes) -> None:
    seen = kills(start, fake_folder, file, 50)
    print(seen)
    assert seen.total() == 200
    assert set(seen) <= {"broken", "starting", "answered"}


@pytest.mark.slow
def test_a_worker_drains_where_its_supervisor_is_gone(start: Start, fake_folder: Path) -> None:
    process, _ = start("--models", f"fake={fake_folder}", *FAKE, "--supervise", "true", "--linger-seconds", "0")
    worker = worker_of(process)
    process.kill()
    worker.wait(20)
    assert not worker.is_running()
