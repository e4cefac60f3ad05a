"""What the package logs is printed as notes, from the level on that the environment names."""

import logging
import warnings

import pytest

from overpaint.cli.console import Console
from overpaint.cli.notes import VARIABLE, notes
from overpaint.errors import InputError


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    logger = logging.getLogger("overpaint.engines.any")
    with notes(Console()):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logger.log(level, "%s happened", "it")
    logger.error("afterwards")
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("overpaint: ")]


@pytest.mark.parametrize(
    ("level", "kinds"),
    [
        (None, ["note", "error"]),
        ("", ["note", "error"]),
        ("debug", ["debug", "info", "note", "error"]),
        ("INFO", ["info", "note", "error"]),
        ("error", ["error"]),
    ],
)
def test_records_are_printed_from_a_level_on(
    level: str | None, kinds: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if level is not None:
        monkeypatch.setenv(VARIABLE, level)
    assert printed(capsys) == [f"overpaint: {kind}: it happened" for kind in kinds]


def test_quiet_prints_none(capsys: pytest.CaptureFixture[str]) -> None:
    with notes(Console(quiet=True)):
        logging.getLogger("overpaint.engines.any").warning("it happened")
    assert "overpaint:" not in capsys.readouterr().err


def test_warnings_of_libraries_are_notes_too(capsys: pytest.CaptureFixture[str]) -> None:
    with notes(Console()):
        warnings.warn("odd", stacklevel=1)
    assert "overpaint: note: odd" in capsys.readouterr().err


def test_an_unknown_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "warn")
    with (
        pytest.raises(InputError, match="unknown level in OVERPAINT_LOG 'warn'; did you mean 'warning'"),
        notes(Console()),
    ):
        pass
