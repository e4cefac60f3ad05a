"""LoRAs on the command line: files become names, and are handed to the model with the folders."""

from pathlib import Path
from typing import Any

from overpaint.cli import loras


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
