"""What A1111's interface lists of a model's LoRAs."""

from pathlib import Path

import overpaint
from overpaint.serving.a1111 import lists
from tests.support import loras
from tests.support.bundles import fake_bundle


def test_loras_are_listed_without_their_paths(tmp_path: Path) -> None:
    folder = tmp_path / "loras"
    folder.mkdir()
    loras.write(folder / "ink.safetensors", loras.unet(), ss_output_name="Ink")
    pipe = overpaint.load(fake_bundle(tmp_path / "bundle", lora=True).folder, engine="fake", loras=folder)
    wanted = {"name": "ink", "alias": "Ink", "path": "ink", "metadata": {"ss_output_name": "Ink"}}
    assert lists.loras(pipe.model) == [wanted]
    loras.write(folder / "wash.safetensors", loras.unet())
    pipe.model.loras.refresh()
    assert [each["name"] for each in lists.loras(pipe.model)] == ["ink", "wash"]
