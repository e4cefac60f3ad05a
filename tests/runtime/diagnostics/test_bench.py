"""`overpaint bench`: what it counts and reports; no test looks at a time's size."""

import json
from pathlib import Path

import pytest

from overpaint import InputError
from overpaint.cli import main
from overpaint.runtime.diagnostics.bench import Report, Spread, bench, peak_memory

FAKE = {"engine": "fake"}


@pytest.fixture(scope="module")
def report(fake_folder: Path) -> Report:
    return bench(fake_folder, repeats=3, warmup=2, loading=FAKE, steps=4, strength=0.5)


def test_the_spread_of_a_hundred_values() -> None:
    assert Spread.of(range(101)) == Spread(50, 95, 99)


def test_one_value_is_its_own_spread() -> None:
    assert Spread.of([2.5]) == Spread(2.5, 2.5, 2.5)


def test_what_was_run_is_said(report: Report) -> None:
    assert (report.size, report.evaluations, report.repeats) == ((64, 64), 2, 3)
    assert set(report.engines.values()) == {"fake"}
    assert list(report.stages) == ["text", "encode", "denoise", "one evaluation", "decode", "total"]


def test_no_picture_is_found_in_a_cache(fake_folder: Path) -> None:
    lines: list[str] = []
    options = {"steps": 2, "strength": 1, "convention": "diffusers"}
    report = bench(fake_folder, repeats=2, loading=FAKE, progress=lines.append, **options)
    assert [line.partition(":")[0] for line in lines] == ["warm-up 1 of 1", "picture 1 of 2", "picture 2 of 2"]
    assert report.stages["encode"].median > 0


def test_strength_0_evaluates_nothing(fake_folder: Path) -> None:
    report = bench(fake_folder, repeats=1, loading=FAKE, strength=0)
    assert report.evaluations == 0
    assert "one evaluation" not in report.stages


@pytest.mark.parametrize(
    ("options", "cause"), [({"repeats": 0}, "repeats"), ({"warmup": 0}, "warmup"), ({"steps": 0}, "steps")]
)
def test_what_cannot_be_measured(fake_folder: Path, options: dict[str, int], cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        bench(fake_folder, loading=FAKE, **options)


def test_memory_is_counted_in_bytes() -> None:
    peak = peak_memory()
    assert peak is None or peak > 2**20


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    record = tmp_path / "bench.json"
    options = ["--repeats", "1", "--steps", "2", "--size", "64x48", "--json", str(record)]
    assert main(["bench", "--model", "tiny", *options]) == 0
    printed = capsys.readouterr()
    assert "tiny, 64x48, evaluations a picture: 1, pictures: 1" in printed.out
    assert "warm-up 1 of 1" in printed.err
    figures = json.loads(record.read_text())
    assert figures["stages"]["total"].keys() == {"median", "p95", "p99"}


@pytest.mark.parametrize(
    ("options", "code", "cause"),
    [
        (["--engine", "onnxruntim"], 2, "did you mean 'onnxruntime'"),
        (["--engine", "onnxruntime", "--device", "tpu"], 2, "'tpu'"),
        (["--json", "nowhere/bench.json"], 2, "does not exist"),
    ],
)
def test_bad_usage(options: list[str], code: int, cause: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["bench", *options]) == code
    assert cause in capsys.readouterr().err
