"""overpaint run."""

import json
from pathlib import Path

import pytest
from PIL import Image

from overpaint.cli import main
from tests.workflow.conftest import WORKFLOWS


def test_a_workflow_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(WORKFLOWS / "img2img.json"), "--set", "6.steps=2", "--set", "6.seed=9", "--folder", str(folder)]
    assert main([*words, "-o", str(folder / "out.png"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["outputs"]["8"]["images"][0]["filename"] == "img2img_00001_.png"
    with Image.open(folder / "out.png") as picture:
        assert json.loads(picture.info["prompt"])["6"]["inputs"]["seed"] == 9
    assert main([*words, "-o", str(folder / "out.png")]) == 2


def test_a_workflow_is_explained(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(WORKFLOWS / "custom-sampling.json"), "--folder", str(folder), "--explain"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "SamplerCustomAdvanced             ?" in printed
    assert not (folder / "output").exists()


def test_an_example_needs_no_pictures_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shipped, own = WORKFLOWS / "inpaint.json", tmp_path / "own.json"
    own.write_bytes(shipped.read_bytes())
    assert main(["run", str(shipped), "--folder", str(tmp_path), "--explain"]) == 0
    assert main(["run", str(own), "--folder", str(tmp_path), "--explain"]) == 2
    assert f"it is not in {tmp_path / 'input'}; put it there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--controlnet", "nope"], "unknown ControlNet 'nope'"),
        (["--model", "v1-5.safetensors=no/bundle"], "no/bundle: no such bundle"),
        (["--lora", "no/lora.safetensors"], "no/lora.safetensors"),
        (["--image-prompt", "nope"], "unknown image-prompt adapter 'nope'"),
        (["--upscaler", "RealESRGAN_x4plus.safetensors=no/upscaler"], "no/upscaler: no such bundle"),
        (["--embedding", "no/style.safetensors"], "no/style.safetensors"),
    ],
)
def test_what_is_named_has_to_be_there(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(WORKFLOWS / "areas.json"), "--explain", *words]) == 2
    assert text in capsys.readouterr().err


def test_a_wrong_change_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(WORKFLOWS / "img2img.json"), "--folder", str(folder)]
    assert main([*words, "--set", "6.sampler_name=nobodys"]) == 2
    assert "sampler_name: 'nobodys' not in" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--set", "seed"])
