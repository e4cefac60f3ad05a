"""The calls of docs/openai-api.md run as they are written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

from tests.test_readme import ROOT, commands, snippets

PAGE = ROOT / "docs/openai-api.md"


def test_the_calls_of_the_page_run_as_written(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "out").mkdir()
    calls = [line for line in commands(PAGE) if line.startswith("curl ")]
    for words in (["bash", "-ec", "\n".join(calls)], [sys.executable, "-c", *snippets(PAGE)]):
        words[-1] = words[-1].replace("http://127.0.0.1:8188", tiny)
        subprocess.run(words, cwd=tmp_path, check=True)
    assert '"size": "64x96"' in (tmp_path / "out/generation.json").read_text()
    assert "event: image_edit.completed" in (tmp_path / "out/edit-events.txt").read_text()
    assert Image.open(tmp_path / "out/edit.png").size == (64, 64)
