"""Presets: data that every command can use, and options that win over it."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import overpaint
from overpaint import InputError, Pipeline
from overpaint.bundles.tensor import Array
from overpaint.cli import _parser, main
from overpaint.runtime.requests.defaults import Times
from overpaint.runtime.requests.presets import PRESETS

USES = {
    "style transfer", "sketch to render", "photo enhancement", "concept variation", "upscaling", "inpainting",
    "outpainting", "colour correction",
}  # fmt: skip


def test_there_is_one_for_each_of_the_eight_uses() -> None:
    assert {preset.use for preset in PRESETS.values()} == USES
    assert all(name == preset.name and preset.why and preset.commands for name, preset in PRESETS.items())


@pytest.mark.parametrize("name", PRESETS)
def test_its_options_are_ordinary_ones(fake: Pipeline, picture: Array, name: str) -> None:
    assert fake.start(picture, "a", **overpaint.preset(name).options).prepared


def test_it_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        overpaint.preset("style").options["strength"] = 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "command", "cause"),
    [("enhence", None, "did you mean 'enhance'"), ("upscale", "img2img", "not of img2img")],
)
def test_ones_that_cannot_be(name: str, command: str | None, cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        overpaint.preset(name, command)


@pytest.mark.parametrize("command", ["img2img", "batch", "grid"])
def test_every_command_of_a_preset_has_its_options(command: str) -> None:
    for preset in PRESETS.values():
        if command in preset.commands:
            given = vars(_parser().parse_args([command, "in", "prompt", "-o", "out"]))
            assert preset.options.keys() <= given.keys()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_options_that_are_given_win_wherever_they_stand(
    tmp_path: Path, order: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from overpaint.cli.commands import img2img

    seen: dict[str, Any] = {}
    monkeypatch.setattr(img2img, "img2img", lambda **options: seen.update(options))
    parts = [["--preset", "enhance"], ["--steps", "8", "--colour-match", "mean"]]
    assert main(["img2img", "in.png", "fox", "-o", "out.png", *parts[order[0]], *parts[order[1]]]) == 0
    assert (seen["steps"], seen["colour_match"], seen["posterior"]) == (8, "mean", "mode")
    assert seen["strength"] == Times(0.42)
    assert "preset" not in seen


def test_presets_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    printed = capsys.readouterr().out
    assert all(use in printed for use in USES)
    assert "colour_match wavelet" in printed


def test_a_wrong_preset_is_bad_usage(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "in.png")
    with pytest.raises(SystemExit) as ended:
        main(["img2img", str(tmp_path / "in.png"), "fox", "-o", str(tmp_path / "out.png"), "--preset", "inpaint"])
    assert ended.value.code == 2
