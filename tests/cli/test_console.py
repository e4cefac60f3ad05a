"""What commands print: lines, one JSON document, nothing, or everything; previews and limits of time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from overpaint.cli import main
from overpaint.runtime.imaging import output
from overpaint.runtime.imaging.metadata import read_record
from tests.support.examples import noise_file

RUN = ("--engine", "fake", "--steps", 4, "--strength", 0.5, "--seed", 7)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return noise_file(tmp_path, 64, 48)


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    path = tmp_path / "mask.png"
    levels = np.zeros((48, 64), np.uint8)
    levels[8:32, 8:32] = 255
    Image.fromarray(levels).save(path)
    return path


@pytest.fixture
def arguments(fake_folder: Path, source: Path, mask: Path) -> dict[str, tuple[object, ...]]:
    """Of every command that makes pictures, what it is run with, but for its output."""
    model = ("--model", fake_folder)
    grid = ("--engine", "fake", "--steps", 4, "--seed", 7, "--strength", "0.5,0.75", "--cell", 32)
    (source.parent / "in").mkdir()
    (source.parent / "in/a.png").write_bytes(source.read_bytes())
    (source.parent / "in/bad.png").write_bytes(b"bad")
    return {
        "img2img": (source, source, "a", *RUN, *model),
        "inpaint": (source, mask, "a", *RUN, *model),
        "outpaint": (source, "a", "--right", 8, *RUN, *model),
        "upscale": (source, "a", "--tile", 32, "--scale", 1.5, *RUN, *model),
        "batch": (source.parent / "in", "a", *RUN, *model),
        "grid": (source, "a", *grid, *model),
    }


COMMANDS = ("img2img", "inpaint", "outpaint", "upscale", "batch", "grid")


def run(command: str, arguments: tuple[object, ...], *more: object) -> int:
    return main([str(argument) for argument in (command, *arguments, *more)])


class TestJson:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_one_document_and_nothing_else(
        self,
        command: str,
        arguments: dict[str, tuple[object, ...]],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        out = tmp_path / ("out" if command == "batch" else "out.png")
        code = run(command, arguments[command], "-o", out, "--json")
        document = json.loads(capsys.readouterr().out)
        assert code == document["exit"] == (3 if command == "batch" else 0)
        assert document["error"] is None
        assert all(Path(file["path"]).is_file() for file in document["files"])
        assert [file["seed"] for file in document["files"]] == ([7, 8] if command == "img2img" else [7])
        if command == "batch":
            assert [each["path"] for each in document["skipped"]] == [str(tmp_path / "in/bad.png")]
            return
        assert document["plan"]["sampler"] == "ddim"
        assert document["plan"]["evaluations"] == len(document["plan"]["timesteps"]) == 2
        assert document["timings"]["total"] > 0
        assert document["engines"]["unet"] == "fake"

    def test_notes_and_certificates_are_in_it(
        self, arguments: dict[str, tuple[object, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        more = ("--guidance", 1, "--negative", "b")
        assert run("inpaint", arguments["inpaint"], "-o", tmp_path / "out.png", "--json", *more) == 0
        document = json.loads(capsys.readouterr().out)
        assert any("negative prompt" in note for note in document["files"][0]["notes"])
        assert any("negative prompt" in note for note in document["notes"])
        assert document["files"][0]["certificate"]

    def test_pure_noise_is_json_too(
        self, arguments: dict[str, tuple[object, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        more = ("--strength", 1, "--sampler", "ddim", "--schedule", "trailing")
        assert run("img2img", arguments["img2img"], "-o", tmp_path / "out.png", "--json", *more) == 0
        assert "Infinity" not in capsys.readouterr().out

    def test_an_error_is_in_it(
        self, arguments: dict[str, tuple[object, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("img2img", arguments["img2img"], "-o", tmp_path / "out.png", "--json", "--sampler", "eulr") == 2
        printed = capsys.readouterr()
        document = json.loads(printed.out)
        assert document["error"]["kind"] == "InputError"
        assert "did you mean 'euler'" in document["error"]["message"]
        assert (document["exit"], document["files"]) == (2, [])

    def test_a_replay(
        self,
        arguments: dict[str, tuple[object, ...]],
        fake_folder: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert run("outpaint", arguments["outpaint"], "-o", tmp_path / "out.png", "-q") == 0
        assert read_record(tmp_path / "out.png")
        assert main(["replay", str(tmp_path / "out.png"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["equal"] is True


class TestLines:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_quiet_prints_nothing(
        self,
        command: str,
        arguments: dict[str, tuple[object, ...]],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        out = tmp_path / ("out" if command == "batch" else "out.png")
        assert run(command, arguments[command], "-o", out, "-q") in (0, 3)
        assert capsys.readouterr() == ("", "")
        assert out.exists() or list(tmp_path.glob("out*"))

    def test_but_for_errors(
        self, arguments: dict[str, tuple[object, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("img2img", arguments["img2img"], "-o", tmp_path / "out.png", "-q", "--steps", 0) == 2
        assert "steps" in capsys.readouterr().err

    def test_verbose_adds_the_table_and_the_engines(
        self, arguments: dict[str, tuple[object, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("outpaint", arguments["outpaint"], "-o", tmp_path / "out.png") == 0
        usual = capsys.readouterr().out
        assert run("outpaint", arguments["outpaint"], "-o", tmp_path / "out.png", "-v", "--overwrite") == 0
        printed = capsys.readouterr().out
        assert {"unet: fake", "vae_decoder: fake"} <= set(printed.splitlines()) - set(usual.splitlines())
        assert "timestep" in printed


class TestPreview:
    @pytest.mark.parametrize("command", ["img2img", "inpaint", "outpaint", "upscale"])
    def test_it_is_written_every_so_many_evaluations(
        self,
        command: str,
        arguments: dict[str, tuple[object, ...]],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        written: list[str] = []
        replace = output.replace

        def watched(path: Path, data: bytes | None) -> None:
            written.extend([path.name] if data is not None else [])
            replace(path, data)

        monkeypatch.setattr(output, "replace", watched)
        more = ("--preview", tmp_path / "now.png", "--preview-every", 2, "--steps", 10)
        assert run(command, arguments[command], "-o", tmp_path / "out.png", "-q", *more) == 0
        assert written[:2] == ["now.png"] * 2  # of five evaluations
        assert written[-1].startswith("out")
        with Image.open(tmp_path / "now.png") as image:
            assert image.mode == "RGB"

    @pytest.mark.parametrize(("name", "cause"), [("now.xyz", "format '.xyz'"), ("nowhere/now.png", "does not exist")])
    def test_a_file_that_cannot_be_written_is_known_before_the_model_runs(
        self,
        name: str,
        cause: str,
        arguments: dict[str, tuple[object, ...]],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        from overpaint.runtime.model import load as loading

        monkeypatch.setattr(loading, "open_engine", lambda *_: pytest.fail("the model must not be loaded"))
        more = ("--preview", tmp_path / name)
        assert run("img2img", arguments["img2img"], "-o", tmp_path / "out.png", *more) in (1, 2)
        assert cause in capsys.readouterr().err


@pytest.mark.parametrize(("strengths", "told"), [("0.25,1.0", "1 to 4"), ("1.0,0.25", "1 to 4"), ("0.3,0.25", "1")])
def test_the_evaluations_of_a_grid_are_told_from_least_to_most(
    strengths: str, told: str, arguments: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("grid", arguments["grid"], "-o", tmp_path / "out.png", "--strength", strengths) == 0
    noun = "evaluation" if told == "1" else "evaluations"
    assert f"\n{told} model {noun} an image; seconds:" in f"\n{capsys.readouterr().out}"


def test_what_a_cache_leaves_out_is_told(
    arguments: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--steps", 8, "--strength", 1, "--cache", "forecast:3")
    assert run("img2img", arguments["img2img"], "-o", tmp_path / "out.png", *more) == 0
    assert "8 model evaluations an image, 4 of them computed whole; seconds:" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["img2img", "inpaint", "outpaint", "upscale"])
def test_a_timeout_ends_with_1_and_leaves_no_file(
    command: str, arguments: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command, arguments[command], "-o", tmp_path / "out.png", "--timeout", "1e-6") == 1
    assert "raise timeout" in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))
