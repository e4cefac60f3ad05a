"""Options that cannot be used end with exit code 2 and say what to do."""

import sys
from pathlib import Path

import pytest

from overpaint import BundleError, EngineError, InputError, OutputError
from overpaint.cli import main
from overpaint.engines import select
from overpaint.errors import NoBundleError, NoEngineError, NoPlaceError
from overpaint.runtime.model.shipped import MODELS

PAINT = ("img2img", str(MODELS / "examples/fox.png"), "fox", "-o")


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "ORDER", (("tensorrt", "cuda", (lambda _: "there is no NVIDIA driver",)),))
    monkeypatch.setitem(sys.modules, "tensorrt", None)


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ((*PAINT, "missing/x.png"), "missing/x.png: the folder missing does not exist"),
        ((*PAINT, "folder"), "folder: is a folder; name a file in it"),
        ((*PAINT, "x.png", "--model", "folder"), "folder: not a bundle"),
        (("info", "./missing"), "missing: no such bundle"),
        ((*PAINT, "x.png", "--engine", "tensorrt"), "tensorrt is not installed"),
        ((*PAINT, "x.png", "--device", "cuda"), "there is no NVIDIA driver); leave the device out"),
        (("verify", "tiny", "--engine", "tensorrt"), "tensorrt: there is no NVIDIA driver"),
    ],
)
def test_an_option_that_cannot_be_used(
    arguments: tuple[str, ...],
    cause: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    assert main(arguments) == 2
    assert cause in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "parent"), [(NoBundleError, BundleError), (NoEngineError, EngineError), (NoPlaceError, OutputError)]
)
def test_its_error_is_of_the_input_and_of_what_it_concerns(kind: type[Exception], parent: type[Exception]) -> None:
    assert issubclass(kind, parent)
    assert issubclass(kind, InputError)
