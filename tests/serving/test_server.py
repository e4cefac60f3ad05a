"""`overpaint serve` as a process: it answers, drains at a signal, and is refused where its settings are wrong."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import overpaint
from overpaint.cli import main
from overpaint.serving.settings import read_settings
from tests.serving.conftest import Start, text
from tests.support.examples import EXAMPLES
from tests.test_readme import ROOT, commands


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(BytesIO(data)))


def test_tiny_paints_for_a_client_what_it_paints_alone(start: Start) -> None:
    process, client = start()
    fox = EXAMPLES[1].read_bytes()
    options: dict[str, Any] = {"prompt": "fox, ink style", "strength": 0.4, "seed": 7}
    made = client.post(
        "/v1/jobs?wait=true", files={"image": fox}, data={key: str(value) for key, value in options.items()}
    )
    assert made.status_code == 200, made.text
    assert np.array_equal(pixels(made.content), np.asarray(overpaint.load("tiny")(fox, **options).images[0]))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def taken(client: httpx.Client) -> float:
    """How many jobs the server has taken."""
    counts = re.findall(r"^overpaint_(?:open_jobs|jobs_total\{.*\}) (\S+)$", client.get("/metrics").text, re.M)
    return sum(map(float, counts))


@pytest.mark.parametrize("repeat", [0, 1, *(pytest.param(each, marks=pytest.mark.slow) for each in range(2, 20))])
def test_at_a_signal_it_takes_no_more_and_loses_nothing(
    repeat: int, start: Start, fake_folder: Path, file: bytes
) -> None:
    process, client = start("--models", f"fake={fake_folder}", "--engine", "fake", "--linger-seconds", "20")
    document = {"image": text(file), "prompt": "a", "steps": 300, "strength": 1.0}
    with ThreadPoolExecutor(4) as threads:
        waiting = [
            threads.submit(lambda seed: client.post("/v1/jobs?wait=true", json={**document, "seed": seed}), seed)
            for seed in range(3)
        ]
        ids = [client.post("/v1/jobs", json={**document, "seed": seed}).json()["id"] for seed in range(6)]
        while taken(client) < len(waiting) + len(ids):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        while client.get("/readyz").status_code == 200:
            time.sleep(0.01)
        refused = client.post("/v1/jobs", json=document)
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        for each in waiting:
            assert each.result().status_code == 200
    for id in ids:  # whose clients look now and then
        while client.get(f"/v1/jobs/{id}").json()["status"] != "done":
            time.sleep(0.02)
        assert pixels(client.get(f"/v1/jobs/{id}/result").content).shape == (40, 56, 3)
    assert process.wait(10) == 0  # all was fetched: it does not linger


def test_a_second_signal_ends_it(start: Start, fake_folder: Path, file: bytes) -> None:
    process, client = start("--models", f"fake={fake_folder}", "--engine", "fake", "--drain-seconds", "1")
    client.post("/v1/jobs", json={"image": text(file), "steps": 900, "strength": 1.0, "n": 10})
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) != 0


def test_settings_are_checked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "serve.toml"
    config.write_text('models = ["small=tiny"]\nqueue_limit = 5\napi_keys = ["0123456789"]\nwarm_up = ["64x64"]\n')
    monkeypatch.setenv("OVERPAINT_SERVE_QUEUE_LIMIT", "7")
    assert main(["serve", "--config", str(config), "--port", "1234", "--check"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert {"model small: tiny", "queue_limit: 7", "port: 1234", "api_keys: 1 keys", "warm_up: 64x64"} <= set(shown)
    assert "0123456789" not in "".join(shown)
    for text_, words in (
        ("prot = 1", "port"),
        ("port = 'x'", "whole"),
        ("port =", "TOML"),
        ("api_keys=['a']", "8 char"),
    ):
        config.write_text(text_)
        assert main(["serve", "--config", str(config), "--check"]) == 2
        assert words in capsys.readouterr().err
    assert main(["serve", "--models", "nonsense", "--check"]) == 2
    assert main(["serve", "--on-disconnect", "shrug", "--check"]) == 2


def test_the_settings_of_the_page_are_settings(tmp_path: Path) -> None:
    page = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, flags=re.S)
    (tmp_path / "serve.toml").write_text(block)
    settings = read_settings(tmp_path / "serve.toml", {})
    assert settings.named_models() == {"tiny": "tiny", "photos": "out/my-model"}
    assert settings.named_upscalers() == {"compact": "compact", "esrgan": "out/my-upscaler"}


def test_a_missing_extra_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "overpaint.serving.server", raising=False)
    assert main(["serve"]) == 1
    assert "pip install 'overpaint[serve]'" in capsys.readouterr().err


def test_the_calls_of_the_page_run_as_written(start: Start, tmp_path: Path) -> None:
    _, client = start()
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "out").mkdir()
    calls = [line for line in commands(ROOT / "docs/serving.md") if "curl " in line]
    script = "\n".join(calls).replace("http://127.0.0.1:8188", str(client.base_url).rstrip("/"))
    subprocess.run(["bash", "-ec", script], cwd=tmp_path, check=True)
    for name in ("served", "served-inpaint", "served-control", "served-job"):
        assert pixels((tmp_path / f"out/{name}.png").read_bytes()).shape == (64, 64, 3)
    assert "event: end" in (tmp_path / "out/served-events.txt").read_text()
