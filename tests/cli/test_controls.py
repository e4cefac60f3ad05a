"""ControlNets on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overpaint.cli import main
from overpaint.cli.controls import control
from tests.support.bundles import fake_bundle, fake_controlnet


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
