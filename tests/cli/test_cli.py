"""The command line on the shipped model: what it writes, what it prints, how it ends."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overpaint.cli import main
from overpaint.runtime.denoising import loop
from overpaint.runtime.imaging.metadata import parse_parameters, read_parameters
from overpaint.runtime.model import load as loading
from tests.support.examples import noise_file


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return noise_file(tmp_path, 64, 64)


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the model must not be loaded")

    monkeypatch.setattr(loading, "open_engine", refuse)


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_img2img_writes_a_picture_with_its_parameters(source: Path, suffix: str, capsys: pytest.CaptureFixture) -> None:
    out = source.with_name(f"out{suffix}")
    assert run("img2img", source, "fox, ink style", "-o", out, "--steps", 4, "--seed", 7) == 0
    with Image.open(out) as image:
        assert image.size == (64, 64)
    text = read_parameters(out)
    assert text is not None
    assert parse_parameters(text).seed == 7
    printed = capsys.readouterr()
    assert f"{out}  seed 7" in printed.out
    assert printed.err == ""


def test_several_images_are_numbered_and_reproducible(source: Path) -> None:
    out = source.with_name("out.png")
    common = ("fox", "-o", out, "--steps", 2, "--strength", 1, "--strip-metadata")
    assert run("img2img", source, source, *common, "--n", 2, "--seed", 1) == 0
    written = sorted(source.parent.glob("out*.png"))
    assert len(written) == 4
    assert all(read_parameters(path) is None for path in written)
    assert run("img2img", source, *common, "--seed", 3) == 0
    assert np.array_equal(np.asarray(Image.open(out)), np.asarray(Image.open(written[2])))


def test_a_region_changes_its_part_of_the_picture(source: Path) -> None:
    mask, plain, split = (source.with_name(f"{name}.png") for name in ("mask", "plain", "split"))
    levels = np.zeros((64, 64), np.uint8)
    levels[:, 32:] = 255
    Image.fromarray(levels).save(mask)
    common = ("--steps", 2, "--strength", 1, "--seed", 1, "--precision", "float32")
    assert run("img2img", source, "fox, ink style", "-o", plain, *common) == 0
    assert run("img2img", source, "fox, ink style", "-o", split, *common, "--region", mask, "pizza, flat style") == 0
    left, right = (np.s_[:, :24], np.s_[:, 40:])
    apart = np.abs(np.asarray(Image.open(plain), int) - np.asarray(Image.open(split)))
    assert apart[right].mean() > 2 * apart[left].mean()


def test_strength_0_gives_the_input_back(source: Path) -> None:
    out = source.with_name("out.png")
    assert run("img2img", source, "fox", "-o", out, "--strength", 0) == 0
    assert np.array_equal(np.asarray(Image.open(out)), np.asarray(Image.open(source)))


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (("--strength", "nan"), "strength"),
        (("--strength", 1.5), "strength"),
        (("--steps", 0), "steps"),
        (("--sampler", "eulr"), "did you mean 'euler'"),
        (("--schedule", "karas"), "did you mean 'karras'"),
        (("--guidance", "inf"), "guidance_scale"),
        (("--seed", -5), "seed"),
        (("--n", 0), "n must be"),
        (("--convention", "confy"), "did you mean 'comfy'"),
        (("--model", "tini"), "did you mean 'tiny'"),
    ],
)
def test_bad_requests_end_with_2_before_the_model_is_loaded(
    source: Path, options: tuple[object, ...], cause: str, capsys: pytest.CaptureFixture
) -> None:
    assert run("img2img", source, "fox", "-o", source.with_name("out.png"), *options) == 2
    assert cause in capsys.readouterr().err


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("out", ["nowhere/out.png", "out.xyz", "out", "."])
def test_an_output_that_cannot_be_written_is_known_before_the_model_runs(
    source: Path, out: str, capsys: pytest.CaptureFixture
) -> None:
    assert run("img2img", source, "fox", "-o", source.parent / out) in (1, 2)
    assert "overpaint: " in capsys.readouterr().err


@pytest.mark.usefixtures("no_model")
def test_a_missing_input(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("img2img", tmp_path / "no.png", "fox", "-o", tmp_path / "out.png") == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["paint"],
        ["img2img"],
        ["img2img", "a", "b", "-o", "c", "--size", "big"],
        ["img2img", "a", "b", "-o", "c", "--quality", "0"],
    ],
)
def test_bad_usage_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_an_interrupt_leaves_no_file(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.Step, "of", interrupt)
    before = set(source.parent.iterdir())
    assert run("img2img", source, "fox", "-o", source.with_name("out.png")) == 130
    assert set(source.parent.iterdir()) == before


def test_a_broken_bundle_ends_with_1(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "bundle.json").write_text("[]")
    assert run("img2img", source, "fox", "-o", tmp_path / "out.png", "--model", tmp_path) == 1
    assert "bundle.json" in capsys.readouterr().err


@pytest.mark.usefixtures("no_model")
def test_plan_prints_the_table_without_the_model(capsys: pytest.CaptureFixture) -> None:
    assert run("plan", "--sampler", "DPM++ 2M Karras", "--steps", 10, "--strength", 0.5) == 0
    printed = capsys.readouterr().out
    assert "dpmpp_2m" in printed
    assert "karras" in printed
    assert "5 model evaluations" in printed


def test_info_shows_the_receipts(capsys: pytest.CaptureFixture) -> None:
    assert run("info", "tiny") == 0
    printed = capsys.readouterr().out
    assert "unet" in printed
    assert "relative error" in printed


@pytest.mark.parametrize(
    ("name", "graph"), [("edges", "controlnet"), ("emoji", "image_projection"), ("compact", "upscaler")]
)
def test_info_knows_the_bundles_of_every_kind(name: str, graph: str, capsys: pytest.CaptureFixture) -> None:
    assert run("info", name) == 0
    assert graph in capsys.readouterr().out


def test_demo_writes_the_picture_and_the_sheet(tmp_path: Path) -> None:
    assert run("demo", "--out", tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"repainted.png", "contact-sheet.png"}
