"""The container file and the unit of systemd go with the settings; the probe that they use."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from overpaint.cli import main
from overpaint.serving.server import ANSWERS_SECONDS
from overpaint.serving.settings import PREFIX, Settings, read_settings
from overpaint.serving.watchdog import CLOSE_SECONDS
from tests.serving.conftest import Start
from tests.test_readme import ROOT

PACKAGING = ROOT / "packaging"


def test_the_unit_waits_for_a_drain_to_end() -> None:
    unit = (PACKAGING / "overpaint.service").read_text(encoding="utf-8")
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.M)
    usual = Settings()
    assert int(stop) >= usual.drain_seconds + usual.linger_seconds + ANSWERS_SECONDS + CLOSE_SECONDS
    (words,) = re.findall(r"^ExecStart=\S+ serve (.*)$", unit, re.M)
    flags = dict(zip(words.split()[2::2], words.split()[3::2], strict=True))
    assert read_settings(flags={name[2:].replace("-", "_"): text for name, text in flags.items()}).on_hang == "exit"


def test_the_container_knows_its_settings_and_extras() -> None:
    text = (PACKAGING / "Containerfile").read_text(encoding="utf-8")
    settings = read_settings(environment=dict(re.findall(rf"({PREFIX}\w+)=(\S+)", text)))
    assert (settings.host, settings.port, settings.log) == ("0.0.0.0", 8188, "json")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (named,) = re.findall(r"^ARG EXTRAS=(\S+)$", text, re.M)
    assert set(named.split(",")) <= set(extras)


def test_the_settings_of_the_page_on_deployment_are_settings(tmp_path: Path) -> None:
    page = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, flags=re.S)
    (tmp_path / "serve.toml").write_text(block)
    assert read_settings(tmp_path / "serve.toml", {}).on_hang == "exit"


def test_a_probe_tells_whether_the_server_is_well(
    start: Start, fake_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--engine", "fake", "--api-keys", "a-long-key", "--hosts", "localhost,127.0.0.1")
    _, client = start("--models", f"fake={fake_folder}", *flags, headers={"x-api-key": "a-long-key"})
    port = str(client.base_url.port)
    assert main(["serve", "--probe", "--port", port, *flags[2:]]) == 0
    assert main(["serve", "--probe", "--port", port]) == 1
    assert "unauthorized" in capsys.readouterr().err
    assert main(["serve", "--probe", "--port", "1"]) == 1
    assert "nothing answers" in capsys.readouterr().err
