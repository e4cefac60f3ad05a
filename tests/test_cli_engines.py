"""The options of the command line that say what runs the graphs."""

from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import overpaint
import overpaint.runtime.load as loading
from overpaint import Request
from overpaint.cli import main
from overpaint.cli.console import Console
from overpaint.cli.engine import choose
from overpaint.runtime.imaging.metadata import read_record
from overpaint.runtime.records import Record


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


def one(size: tuple[int, int] = (64, 64), **options: Any) -> Request:
    return Request(overpaint.read(np.zeros((*size[::-1], 3), np.uint8)), **options)


FREE = {"engine": "auto", "device": None, "precision": None, "threads": 0, "verify": True}


class TestTheEngineOfOnePicture:
    def test_a_little_picture_of_a_small_model_takes_what_starts_first(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        chosen = choose("tiny", FREE, [one(steps=20)], Console())
        assert (chosen["engine"], chosen["device"]) == ("onnxruntime", "cpu")
        assert "on onnxruntime" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "changes", [{"engine": "openvino"}, {"precision": "bfloat16"}, {"shapes": "auto"}], ids=str
    )
    def test_options_win(self, changes: dict[str, str]) -> None:
        assert choose("tiny", FREE | changes, [one()], Console()) == FREE | changes

    @pytest.mark.parametrize("requests", [[one(), one()], [one((512, 512))], [one(steps=999)]], ids=len)
    def test_more_work_takes_the_fastest(self, requests: list[Request]) -> None:
        assert choose("tiny", FREE, requests, Console()) == FREE

    def test_a_larger_model_takes_the_fastest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("overpaint.cli.engine.SMALL", 0)
        assert choose("tiny", FREE, [one()], Console()) == FREE
