"""The examples of docs/extending.md run as they are written."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import overpaint
from overpaint.engines.registry import BACKENDS
from overpaint.runtime.sampling.samplers import SAMPLERS

ROOT = Path(overpaint.__file__).parent
PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder like the checkout's, whose modules can be imported; nothing that is added stays."""
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for table, name in ((SAMPLERS, "ab2"), (BACKENDS, "numpy"), (sys.modules, "numpy_engine")):
        table.pop(name, None)


def test_every_example_runs(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "extending"}
    for code in re.findall(r"```python\n(.*?)```", PAGE, flags=re.S):
        if file := re.match(r"# (\w+\.py)\n", code):
            (checkout / file[1]).write_text(code, encoding="utf-8")
        else:
            exec(compile(code, "docs/extending.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "ab2" in printed
    assert "'text_encoder': 'numpy, cpu, float32'" in printed
    assert "image_encoder" in printed
    assert names["result"].plan.sampler == "ab2"
    assert names["twice"].images[0].size == (64, 64)
    assert names["light"].images[0].getpixel((0, 0)) == (191, 191, 191)
    assert {path.name for path in (checkout / "out").iterdir()} == {"ab2.png", "twice.png", "toy-flow", "temp"}


def test_every_file_that_is_named_exists() -> None:
    rows = re.findall(r"^\| (`.+?) \|", PAGE, flags=re.M)
    files = [file for row in rows for file in re.findall(r"`([^`]+)`", row) if "NAME" not in file]
    assert len(files) > 20
    assert [file for file in files if not (ROOT / file).exists()] == []
