"""LoRAs on the command line: files become names, and are handed to the model with the folders."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from overpaint.cli import loras, main
from tests.support import loras as files
from tests.support.bundles import fake_bundle


def test_files_are_loaded_and_named() -> None:
    arguments: dict[str, Any] = {
        "loras": ["my/ink.v2.safetensors:0.8", "wash:0.2:0.4"],
        "lora_folders": [Path("more")],
        "lora_partial": True,
        "lora_mode": "merged",
        "engine": {"engine": "fake"},
    }
    loras.settle(arguments)
    assert arguments == {
        "loras": ("ink.v2:0.8", "wash:0.2:0.4"),
        "engine": {
            "engine": "fake",
            "loras": (Path("my/ink.v2.safetensors"), Path("more")),
            "lora_partial": True,
            "lora_mode": "merged",
        },
    }


def test_without_any_nothing_is_said() -> None:
    arguments: dict[str, Any] = {"lora_folders": [], "lora_partial": False, "lora_mode": None, "engine": {}}
    arguments["loras"] = None
    loras.settle(arguments)
    assert arguments == {"engine": {}, "loras": None}


@pytest.mark.parametrize(
    ("lora", "seen"),
    [
        ((), "1 written (1 replaced), 1 already there"),
        (("--lora", "ink:0.5"), "2 written (2 replaced)"),
        (("--negative-prompt", "grey <lora:ink:0.5>"), "2 written (2 replaced)"),
    ],
    ids=["by a prompt", "by an option", "by the negative prompt"],
)
def test_a_batch_sees_that_a_lora_is_another(
    lora: tuple[str, ...], seen: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_bundle(tmp_path / "bundle", lora=True)
    for name in ("in/a.png", "in/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (56, 40), 90).save(tmp_path / name)
    (tmp_path / "in/b.txt").write_text("a fox <lora:ink:0.8>")
    (tmp_path / "loras").mkdir()
    ink = files.write(tmp_path / "loras/ink.safetensors", files.unet(1))
    words = ["batch", tmp_path / "in", "a fox", "-o", tmp_path / "out", "--model", tmp_path / "bundle", "--seed", 1]
    words += ["--engine", "fake", "--steps", 4, "--loras", tmp_path / "loras", *lora]
    assert main(list(map(str, words))) == 0
    files.write(ink, files.unet(2))
    assert main(list(map(str, words))) == 0
    assert seen in capsys.readouterr().out
