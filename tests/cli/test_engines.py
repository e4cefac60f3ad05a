"""The options of the command line that say what runs the graphs."""

from functools import wraps
from pathlib import Path
from typing import Any

import pytest

import overpaint.runtime.pipeline as loading
from overpaint.cli import main
from overpaint.runtime.imaging.metadata import read_record
from overpaint.runtime.provenance.records import Record


@pytest.mark.parametrize("shapes", [None, "dynamic"])
def test_shapes_are_handed_on_recorded_and_replayed(
    shapes: str | None, fake_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    load = loading.load

    @wraps(load)
    def watched(*args: Any, **options: Any) -> Any:
        seen.append(options.get("shapes"))
        return load(*args, **options)

    monkeypatch.setattr(loading, "load", watched)
    monkeypatch.setattr("overpaint.runtime.replay.load", watched)
    out = tmp_path / "out.png"
    chosen = ["--shapes", shapes] if shapes else []
    picture = "models/examples/fox.png"
    common = ["--model", str(fake_folder), "--engine", "fake", "--steps", "2", "--seed", "1", *chosen]
    assert main(["img2img", picture, "a", "-o", str(out), *common]) == 0
    assert Record.read(read_record(out) or "").loading["shapes"] == (shapes or "auto")
    assert main(["replay", str(out), "-o", str(tmp_path / "again.png")]) == 0
    assert seen == [shapes, shapes or "auto"]


def test_unknown_shapes(fake_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["models/examples/fox.png", "a", "-o", str(tmp_path / "o.png"), "--model", str(fake_folder)]
    assert main(["img2img", *arguments, "--engine", "fake", "--shapes", "square"]) == 2
    assert "unknown kind of shapes" in capsys.readouterr().err
