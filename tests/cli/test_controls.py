"""ControlNets on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overpaint.cli import main
from overpaint.cli.controls import control
from tests.support.bundles import fake_bundle, fake_controlnet, fake_image_prompt


def test_a_word_says_all(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "hint.png")
    made = control(
        f"edges={tmp_path / 'hint.png'},weight=0.8,start=0.1,end=0.9,mode=control,preprocessor=canny,"
        "thresholds=50/100,resolution=512,fit=pad,type=x"
    )
    assert made.image is not None
    assert (made.net, made.image.size, made.weight, made.start, made.end) == ("edges", (8, 8), 0.8, 0.1, 0.9)
    assert (made.mode, made.preprocessor, made.thresholds) == ("control", "canny", (50, 100))
    assert (made.resolution, made.fit, made.control_type) == (512, "pad", "x")
    assert control("edges").image is None


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("edges,wieght=1", "did you mean 'weight'"),
        ("edges,weight=much", "no number that can be used"),
        ("edges,weight=3", "from 0 to 2"),
        ("edges=nowhere.png", "nowhere.png"),
        ("", "names no ControlNet"),
    ],
)
def test_a_word_that_cannot_be_used_is_refused(word: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        control(word)


def test_commands_take_controls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake_bundle(tmp_path / "bundle", control=True)
    fake_controlnet(tmp_path / "net")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    Image.new("L", (56, 40), 255).save(tmp_path / "mask.png")
    common = [
        "--model",
        str(tmp_path / "bundle"),
        "--engine",
        "fake",
        "--seed",
        "1",
        "--control",
        str(tmp_path / "net"),
    ]
    source, mask, out = (str(tmp_path / name) for name in ("in.png", "mask.png", "out.png"))
    commands = (
        ["img2img", source, "a"],
        ["inpaint", source, mask, "a"],
        ["outpaint", source, "a", "--right", "16"],
        ["upscale", source, "a", "--tile", "64", "--scale", "2"],
        ["grid", source, "a", "--steps", "4,6"],
    )
    for command in commands:
        assert main([*command, *common, "-o", out, "--overwrite"]) == 0, command
        assert "ControlNet 0" in str(Image.open(out).info["parameters"])
    axes = ["grid", source, "a", "--steps", "4", "--control-weight", "0,1"]
    assert main([*axes, *common, "-o", out, "--overwrite"]) == 0
    assert "X Type: control weight" in str(Image.open(out).info["parameters"])
    assert main(["info", str(tmp_path / "net")]) == 0
    assert "out  control_mid" in capsys.readouterr().out


def test_pictures_of_a_folder_have_hints_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake_bundle(tmp_path / "bundle", control=True, image=True)
    fake_controlnet(tmp_path / "net")
    fake_image_prompt(tmp_path / "adapter")
    rng = np.random.default_rng(0)
    for place in ("in/a.png", "in/b.png", "hints/a.png", "hints/b.jpg", "styles/a.png", "styles/b.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 56, 3), np.uint8)).save(tmp_path / place)
    common = [
        *("--model", tmp_path / "bundle", "--engine", "fake", "--seed", 1, "--steps", 4, "--strength", 1),
        *("--image-prompt-adapter", tmp_path / "adapter", "--control", f"{tmp_path / 'net'}={tmp_path / 'hints'}"),
        *("--image-prompt", f"{tmp_path / 'styles'}:0.5"),
    ]
    out = tmp_path / "out"

    def batch(*options: object) -> int:
        return main(list(map(str, ["batch", tmp_path / "in", "a", "-o", out, *common, *options])))

    assert batch() == 0
    single = tmp_path / "single.png"
    words = [*common[:-4], f"--control={tmp_path / 'net'}={tmp_path / 'hints/b.jpg'}", "--overwrite"]
    words += ["--image-prompt", f"{tmp_path / 'styles/b.png'}:0.5", "-o", single]
    assert main(list(map(str, ["img2img", tmp_path / "in/b.png", "a", *words]))) == 0
    assert np.array_equal(np.asarray(Image.open(out / "b.png")), np.asarray(Image.open(single)))
    assert batch() == 0
    assert "0 written, 2 already there" in capsys.readouterr().out
    (tmp_path / "hints/b.jpg").unlink()
    Image.new("RGB", (8, 8)).save(tmp_path / "hints/a.png")
    assert batch() == 3
    printed = capsys.readouterr()
    assert "1 written (1 replaced), 0 already there, 1 skipped" in printed.out
    assert f"{tmp_path / 'in/b.png'} skipped: {tmp_path / 'hints'} has no picture b.*\n" in printed.err
    assert batch("--control-weight", 0.5) == 3
    assert "1 written (1 replaced)" in capsys.readouterr().out
