"""`overpaint inpaint` and `overpaint outpaint` on the shipped model: what they write, print and refuse."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overpaint.cli import main
from overpaint.runtime.model.shipped import MODELS

FOX = MODELS / "examples/fox.png"


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """The right half of 64 x 64 pixels."""
    return half(tmp_path / "mask.png", slice(32, 64))


def half(path: Path, columns: slice) -> Path:
    levels = np.zeros((64, 64), np.uint8)
    levels[:, columns] = 255
    Image.fromarray(levels).save(path)
    return path


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_inpaint_writes_pictures_and_proves_what_it_left(mask: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = mask.with_name("out.png")
    options = ("--steps", 4, "--seed", 7, "--n", 2, "--mask-blur", "2,0", "--levels", "soft", "--content", "fill")
    assert run("inpaint", FOX, mask, "fox, ink style", "-o", out, *options) == 0
    source = np.asarray(Image.open(FOX).convert("RGB"))
    written = sorted(mask.parent.glob("out*.png"))
    assert len(written) == 2
    for path in written:
        made = np.asarray(Image.open(path).convert("RGB"))
        assert np.array_equal(made[:, :27], source[:, :27])
        assert not np.array_equal(made, source)
    printed = capsys.readouterr()
    assert printed.out.count("others are exactly as they were") == 2
    assert "colours around the mask" in printed.err


def test_regions_have_prompts_of_their_own(mask: Path) -> None:
    left = half(mask.with_name("left.png"), slice(0, 32))
    out = mask.with_name("out.png")
    common = ("inpaint", FOX, mask, "fox, ink style", "-o", out, "--steps", 3, "--seed", 1)
    assert run(*common, "--region", left, "rocket, flat style") == 0
    both = np.asarray(Image.open(out))
    assert run(*common, "--overwrite") == 0
    assert not np.array_equal(both[:, :20], np.asarray(Image.open(out))[:, :20])


def test_an_empty_mask_is_said(mask: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (64, 64)).save(mask)
    out = mask.with_name("out.png")
    assert run("inpaint", FOX, mask, "fox", "-o", out) == 0
    assert np.array_equal(np.asarray(Image.open(out)), np.asarray(Image.open(FOX).convert(Image.open(out).mode)))
    printed = capsys.readouterr()
    assert "the mask is empty: nothing is repainted" in printed.err
    assert "evaluations" not in printed.out


def test_outpaint_enlarges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.png"
    options = ("--left", 40, "--top", 9, "--fill", "colour", "--colour", "255,255,255", "--steps", 2, "--seed", 1)
    assert run("outpaint", FOX, "fox, noto style", "-o", out, *options) == 0
    made = np.asarray(Image.open(out).convert("RGB"))
    assert made.shape == (73, 104, 3)
    assert np.array_equal(made[9:, 40:], np.asarray(Image.open(FOX).convert("RGB")))
    assert "the 4096 others are exactly as they were" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("outpaint", FOX, "fox"), "grow by 0 pixels"),
        (("outpaint", FOX, "fox", "--left", 20000), "left must be"),
        (("outpaint", FOX, "fox", "--left", 8, "--fill", "edgy"), "did you mean 'edge'"),
        (("inpaint", FOX, FOX.with_name("none.png"), "fox"), "no such file"),
        (("inpaint", FOX, FOX, "fox", "--levels", "sof"), "did you mean 'soft'"),
        (("inpaint", FOX, FOX, "fox", "--channel", "alfa"), "did you mean 'alpha'"),
        (("inpaint", FOX, FOX, "fox", "--mask-blur", "1,2,3"), "blur is"),
    ],
)
def test_bad_usage_is_told(
    tmp_path: Path, arguments: tuple[object, ...], cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, "-o", tmp_path / "out.png") == 2
    assert cause in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_mask_of_another_size_names_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small, out = tmp_path / "mask.png", tmp_path / "out.png"
    Image.new("L", (32, 32), 255).save(small)
    assert run("inpaint", FOX, small, "fox", "-o", out) == 2
    assert "--resize-mask" in capsys.readouterr().err
    assert run("inpaint", FOX, small, "fox", "-o", out, "--resize-mask", "--steps", 2) == 0
