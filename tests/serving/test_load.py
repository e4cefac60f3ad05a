"""Many clients at once, over HTTP: what is made, what is refused, what is late, and that nothing is lost."""

from __future__ import annotations

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image
from starlette.testclient import TestClient

import overpaint
from overpaint.runtime.model.model import Model
from overpaint.serving.app import create_app
from overpaint.serving.service import Service
from overpaint.serving.settings import Settings
from tests.serving.conftest import QUICK, Start, text
from tests.serving.test_api import Slow, document, pixels
from tests.serving.test_faulty_processes import started
from tests.support.engines import until
from tests.support.examples import EXAMPLES

SAMPLERS = ("euler_a", "ddim", "dpmpp_2m", "heun", "lms")


def mixed(count: int, steps: int) -> list[dict[str, Any]]:
    """Options of so many jobs, of all kinds that may share a call."""
    random = np.random.default_rng(5)
    return [
        {
            "prompt": str(random.choice(["a fox", "a cat, (ink:1.3)"])),
            "seed": int(random.integers(100)),
            "steps": int(random.integers(4, steps)),
            "strength": float(random.choice([0.3, 0.75, 1.0])),
            "sampler": str(random.choice(SAMPLERS)),
            "guidance_scale": float(random.choice([1.0, 7.0])),
            "masked": bool(random.integers(2)),
        }
        for _ in range(count)
    ]


def psnr(made: Any, wanted: Any) -> float:
    error = np.mean((np.asarray(made, float) - np.asarray(wanted, float)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


@pytest.mark.parametrize(
    ("engine", "least"),
    [
        ("fake", np.inf),
        pytest.param("onnxruntime", 60.0, marks=pytest.mark.slow),
        pytest.param("openvino", 60.0, marks=pytest.mark.slow),
    ],
)
def test_pictures_of_eight_clients_are_those_made_alone(
    engine: str, least: float, fake_folder: Path, mask_file: bytes, picture: Any
) -> None:
    path = fake_folder if engine == "fake" else "tiny"
    service = Service({"it": overpaint.load(path, engine=engine).model}, Settings(**QUICK, queue_limit=100))
    service.start()
    app, alone = create_app(service), overpaint.load(path, engine=engine)
    source = EXAMPLES[1].read_bytes() if engine != "fake" else _png(picture)
    mask = _png(np.repeat(np.uint8([[0] * 32 + [255] * 32]), 64, 0)) if engine != "fake" else mask_file
    jobs = mixed(16, 10)

    def call(options: dict[str, Any]) -> Any:
        sent = {name: value for name, value in options.items() if name != "masked"}
        more = {"verb": "inpaint", "mask": text(mask)} if options["masked"] else {}
        return TestClient(app).post("/v1/jobs?wait=true", json={**sent, **more, "image": text(source)})

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(call, jobs))
    service.close()
    for answer, options in zip(answers, jobs, strict=True):
        assert answer.status_code == 200, answer.text
        own = dict(options)
        prompt, masked = own.pop("prompt"), own.pop("masked")
        made = alone.inpaint(source, mask, prompt, **own) if masked else alone(source, prompt, **own)
        assert psnr(pixels(answer.content), made.images[0]) >= least, options


def _png(array: Any) -> bytes:
    stream = BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def flood(address: Any, file: bytes, calls: int) -> tuple[Counter[int], list[float]]:
    """What so many calls are answered with, and the seconds of each refusal."""
    waits = list[float]()
    body = document(file, steps=20)

    def call(seed: int) -> int:
        start = time.perf_counter()
        answer = client.post("/v1/jobs?wait=true", json={**body, "seed": seed})
        if answer.status_code == 429:
            waits.append(time.perf_counter() - start)
            assert int(answer.headers["retry-after"]) >= 1
        else:
            assert answer.status_code != 200 or pixels(answer.content).shape == (40, 56, 3)
        return answer.status_code

    limits = httpx.Limits(max_connections=calls)
    with httpx.Client(base_url=address, timeout=120, limits=limits) as client, ThreadPoolExecutor(calls) as threads:
        return Counter(threads.map(call, range(calls))), waits


def test_of_ten_times_what_the_queue_holds_nothing_is_lost(
    start: Start, fake_folder: Path, tmp_path: Path, file: bytes
) -> None:
    (tmp_path / "switch").write_text("sleep 0.1")
    with (tmp_path / "log").open("w") as log:
        _, client = started(start, tmp_path, fake_folder, "--queue-limit", "10", "--log", "json", stderr=log)
        seen, waits = flood(client.base_url, file, 100)
    assert set(seen) == {200, 429}
    assert seen.total() == 100
    assert seen[200] >= 10
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    within = [line["seconds"] for line in lines if line.get("status") == 429]
    assert len(within) == seen[429]
    for name, each in (("in the server", within), ("with 100 clients at once", waits)):
        print(dict(seen), name, f"median {np.median(each) * 1e3:.1f} ms, longest {max(each) * 1e3:.1f} ms")


def test_a_job_that_waits_in_line_ends_at_its_deadline(model: Model, file: bytes, slow: Slow) -> None:
    slow(0.02)
    service = Service({"fake": Model(model.stages, model.schedule, max_active=1)}, Settings(**QUICK))
    service.start()
    client = TestClient(create_app(service))
    first = client.post("/v1/jobs", json=document(file, steps=500)).json()["id"]
    late = [client.post("/v1/jobs", json=document(file, timeout=0.3)).json()["id"] for _ in range(5)]
    jobs = [service.jobs.get(id, "") for id in late]
    until(lambda: all(job.status != "queued" for job in jobs))
    assert client.get(f"/v1/jobs/{first}").json()["status"] == "running"  # they never came to its place
    for id in late:
        answer = client.get(f"/v1/jobs/{id}/result")
        assert (answer.status_code, answer.json()["error"]["type"]) == (504, "timeout")
    service.close()


@pytest.mark.slow
def test_ten_thousand_requests_leave_no_memory_behind(
    start: Start, fake_folder: Path, file: bytes, mask_file: bytes
) -> None:
    process, client = start("--models", f"fake={fake_folder}", "--engine", "fake", "--warm-up", "", "--keep-jobs", "16")
    address, seen = str(client.base_url).rstrip("/"), Counter[int]()
    kinds: list[dict[str, Any]] = [
        {},
        {"verb": "inpaint", "mask": text(mask_file), "sampler": None},
        {"n": 2},
        {"verb": "outpaint", "right": 16},
        {"strength": 7},
        {"timeout": 0.001},
    ]

    def call(seed: int) -> None:
        body = {**document(file, steps=2), **kinds[seed % len(kinds)], "seed": seed}
        body = {name: value for name, value in body.items() if value is not None}
        seen[client.post(f"{address}/v1/jobs?wait=true", json=body, timeout=60).status_code] += 1

    memory = list[tuple[int, float]]()
    with ThreadPoolExecutor(8) as threads:
        for done in range(0, 10_000, 250):
            list(threads.map(call, range(done, done + 250)))
            memory.append((done + 250, psutil.Process(process.pid).memory_info().rss / 2**20))
    assert set(seen) <= {200, 400, 504}
    half = np.asarray(memory[len(memory) // 2 :])
    slope, _ = np.polyfit(half[:, 0], half[:, 1], 1)
    print(dict(seen), [round(rss, 1) for _, rss in memory], f"slope {slope * 1000:.3f} MB per 1,000 requests")
    assert abs(slope) * 5000 < 8  # MB over the second half
