"""A checkpoint as one file under the names of the original code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.single_files import write_single_file


def prepare(checkpoint: Path, folder: Path, **_: Any) -> None:
    write_single_file(checkpoint, folder / "model.safetensors")
