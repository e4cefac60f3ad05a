"""The commands that make many pictures, and img2img's passes, on the shipped model."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overpaint.cli import main
from overpaint.cli.commands import grid
from overpaint.runtime.imaging.metadata import parse_parameters, read_parameters
from overpaint.runtime.model import load as loading
from overpaint.runtime.model.shipped import MODELS

FOX = MODELS / "examples/fox.png"
FAST = ("--engine", "onnxruntime", "--steps", 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in/deep").mkdir(parents=True)
    for place in ("a.png", "b.png", "deep/c.png"):
        (tmp_path / "in" / place).write_bytes(FOX.read_bytes())
    return tmp_path / "in"


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the model must not be loaded")

    monkeypatch.setattr(loading, "open_engine", refuse)


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


class TestBatch:
    def test_a_folder_is_done_once_and_says_what_it_skipped(
        self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = folder.parent / "out"
        common = ("batch", folder, "fox, ink style", "-o", out, "--recursive", "--format", "webp", *FAST)
        assert run(*common) == 0
        assert {path.relative_to(out).as_posix() for path in out.rglob("*.webp")} == {"a.webp", "b.webp", "deep/c.webp"}
        seeds = {parse_parameters(read_parameters(path) or "").seed for path in out.rglob("*.webp")}
        assert len(seeds) == 1
        assert run("replay", out / "a.webp") in (0, 3)
        capsys.readouterr()
        monkeypatch.setattr(loading, "open_engine", lambda *_: pytest.fail("nothing is left to do"))
        assert run(*common) == 0
        assert "3 pictures: 0 written, 3 already there, 0 skipped" in capsys.readouterr().out
        (folder / "bad.png").write_bytes(b"bad")
        monkeypatch.undo()
        assert run(*common) == 3
        assert "skipped: " in capsys.readouterr().err

    def test_its_own_files_are_replaced_and_it_says_so(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = folder.parent / "out"
        assert run("batch", folder, "fox", "-o", out, "--seed", 1, *FAST) == 0
        assert "2 pictures: 2 written, 0 already there, 0 skipped" in capsys.readouterr().out
        assert run("batch", folder, "cat", "-o", out, "--seed", 1, *FAST) == 0
        printed = capsys.readouterr()
        assert "2 pictures: 2 written (2 replaced), 0 already there, 0 skipped" in printed.out
        assert "2 images that this batch wrote with another input, prompt or options were replaced" in printed.err
        assert run("batch", folder, "cat", "-o", out, "--seed", 1, "--n", 2, *FAST) == 0
        assert "2 pictures: 4 images written, 0 images already there, 0 skipped" in capsys.readouterr().out

    @pytest.mark.usefixtures("no_model")
    def test_what_is_wrong_is_known_before_the_model_is_loaded(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = folder.parent / "out"
        assert run("batch", folder, "fox", "-o", out, "--sampler", "eulr") == 2
        assert run("batch", folder, "fox", "-o", folder) == 2
        assert run("batch", folder / "deep/c.png", "fox", "-o", out) == 2
        assert run("batch", folder, "fox", "-o", folder / "a.png") == 1
        assert "did you mean 'euler'" in capsys.readouterr().err

    @pytest.mark.usefixtures("no_model")
    def test_a_folder_without_write_permission(
        self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "write_bytes", refuse)
        assert run("batch", folder, "fox", "-o", folder.parent / "out") == 1
        assert "cannot be written (Permission denied)" in capsys.readouterr().err


class TestGrid:
    def test_a_sheet_of_two_axes_in_the_order_they_are_given(self, tmp_path: Path) -> None:
        out = tmp_path / "grid.png"
        axes = ("--sampler", "ddim,euler_a", "--strength", "0.3,0.5,0.7")
        assert run("grid", FOX, "fox, ink style", *axes, "-o", out, "--cell", 64, "--seed", 7, *FAST) == 0
        parsed = dict(parse_parameters(read_parameters(out) or "").extra)
        assert (parsed["X Type"], parsed["Y Values"]) == ("sampler", "0.3, 0.5, 0.7")
        assert Image.open(out).height > Image.open(out).width

    @pytest.mark.usefixtures("no_model")
    @pytest.mark.parametrize(
        ("options", "cause"),
        [
            ((), "one to 3 axes"),
            (("--strength", "0.5"), "one to 3 axes"),
            (("--strength", "0.3,x"), "give numbers"),
            (("--strength", "0.3,1.5"), "strength must be"),
            (("--replace", "dog=>cat"), "'dog' is not in the prompt"),
            (("--steps", ",".join(map(str, range(4, 70)))), "66 pictures, more than 64; say --yes"),
        ],
    )
    def test_what_is_wrong_is_known_before_the_model_is_loaded(
        self, tmp_path: Path, options: tuple[object, ...], cause: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("grid", FOX, "fox", "-o", tmp_path / "grid.png", *options) == 2
        assert cause in capsys.readouterr().err

    def test_without_a_seed_one_is_drawn_and_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("secrets.randbelow", lambda _: 4711)
        out = tmp_path / "grid.png"
        assert run("grid", FOX, "fox", "-o", out, "--strength", "0.3,0.5", "--cell", 64, *FAST) == 0
        assert "seed 4711" in capsys.readouterr().out
        assert parse_parameters(read_parameters(out) or "").seed == 4711

    @pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 2)])
    def test_a_large_one_asks_on_a_terminal(
        self,
        tmp_path: Path,
        answer: str,
        code: int,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        class Terminal:
            isatty = staticmethod(lambda: True)
            readline = staticmethod(lambda: answer)

        monkeypatch.setattr(grid, "MANY", 1)
        monkeypatch.setattr("sys.stdin", Terminal())
        assert run("grid", FOX, "fox", "-o", tmp_path / "grid.png", "--seed", "1,2", "--cell", 64, *FAST) == code
        assert "2 pictures. Make them all?" in capsys.readouterr().err

    def test_a_preset_is_under_its_lists(self, tmp_path: Path) -> None:
        out = tmp_path / "grid.png"
        common = ("--cell", 64, *FAST, "--preset", "enhance", "--strength", "0.5,0.7")
        assert run("grid", FOX, "fox", "-o", out, *common) == 0
        parsed = parse_parameters(read_parameters(out) or "")
        assert (parsed.steps, parsed.sampler, parsed.denoising_strength) == (4, "DPM++ 2M", 0.5)


class TestPasses:
    def test_a_loopback_prints_the_drift_of_its_passes(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out.png"
        loops = (
            "--strength",
            0.6,
            "--loops",
            3,
            "--final-strength",
            0.5,
            "--strength-curve",
            "lazy",
            "--through-pixels",
        )
        assert run("img2img", FOX, "fox", "-o", out, "--seed", 1, *loops, *FAST) == 0
        printed = capsys.readouterr().out
        assert printed.split("drift of each pass, in deviations: ")[1].split("\n")[0].count(",") == 2
        extra = dict(parse_parameters(read_parameters(out) or "").extra)
        assert np.allclose([float(part) for part in extra["Passes"].split(",")], [0.6, 0.57071, 0.5], atol=1e-4)
        assert extra["Between passes"] == "pixels"

    @pytest.mark.usefixtures("no_model")
    @pytest.mark.parametrize(
        ("options", "cause"),
        [
            (("--passes", "0.7,0"), "strength 0 does nothing"),
            (("--passes", "0.7,1.2"), "from 0 to 1"),
            (("--passes", "0.7", "--loops", 2), "given twice"),
            (("--final-strength", 0.3), "give --loops too"),
            (("--loops", 2, "--strength-curve", "lazi"), "did you mean 'lazy'"),
            (("--loops", 33), "1 to 32"),
            (("--through-pixels",), "of several passes"),
        ],
    )
    def test_passes_that_cannot_be(
        self, tmp_path: Path, options: tuple[object, ...], cause: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("img2img", FOX, "fox", "-o", tmp_path / "out.png", *options) == 2
        assert cause in capsys.readouterr().err
