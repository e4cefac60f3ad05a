"""`--from-infotext`: options from a file, those of the command line first, and notes on the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from overpaint import from_infotext
from overpaint.cli import main
from overpaint.runtime.imaging.metadata import read_parameters, split_parameters
from overpaint.runtime.imaging.output import write
from tests.support.examples import noise_file

TEXT = (
    "fox, (ink:1.1)\nNegative prompt: blurry\nSteps: 4, Sampler: Euler a, Schedule type: Karras, CFG scale: 3, "
    "Seed: 12, Size: 64x64, Model hash: 45dee52b, Denoising strength: 0.5, Hires upscale: 2, Version: v1.10.1"
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return noise_file(tmp_path, 64, 64)


@pytest.fixture
def infotext(tmp_path: Path) -> Path:
    path = tmp_path / "theirs.webp"
    write(path, Image.new("RGB", (8, 8)), TEXT)
    return path


@pytest.fixture
def ran(fake_folder: Path) -> Callable[..., None]:
    def ran(command: str, *arguments: Any) -> None:
        engine = () if command == "plan" else ("--engine", "fake")
        assert main(list(map(str, (command, *arguments, "--model", fake_folder, *engine)))) == 0

    return ran


def pairs(path: Path) -> tuple[str, str, dict[str, str]]:
    prompt, negative, found = split_parameters(read_parameters(path) or "")
    return prompt, negative, dict(found)


def test_img2img_takes_prompt_and_options_and_notes_the_rest(
    ran: Callable[..., None], source: Path, infotext: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"
    ran("img2img", source, "--from-infotext", infotext, "-o", out)
    prompt, negative, found = pairs(out)
    assert (prompt, negative) == ("fox, (ink:1.1)", "blurry")
    same = ("Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Denoising strength")
    theirs = dict(split_parameters(TEXT)[2])
    assert {name: found[name] for name in same} == {name: theirs[name] for name in same}
    assert (found["Strength convention"], found["RNG"]) == ("a1111", "NV")
    notes = capsys.readouterr().err
    assert "infotext: Hires upscale: 2 is not followed" in notes
    assert "infotext: the model [45dee52b] made it, this is fake" in notes


def test_what_the_command_line_gives_wins_on_either_side(
    ran: Callable[..., None], source: Path, infotext: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    before, after = ("--strength", 0.75, "--prompt", "a cat"), ("--seed", 3, "--noise=cpu")
    ran("img2img", source, *before, "--from-infotext", infotext, *after, "-o", out)
    prompt, _, found = pairs(out)
    assert prompt == "a cat"
    assert [found[name] for name in ("Denoising strength", "Seed", "RNG", "Steps")] == ["0.75", "3", "CPU", "4"]
    ran("img2img", source, "a dog", "--from-infotext", infotext, "-o", out, "--overwrite", "--preset", "sketch")
    assert (pairs(out)[0], pairs(out)[2]["Steps"]) == ("a dog", "4")


def test_a_picture_of_ours_is_made_again(ran: Callable[..., None], source: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    ran("img2img", source, "fox", "--passes", "0.5,0.3", "--steps", 4, "--sampler", "ddim", "--eta", 0.5, "-o", first)
    ran("img2img", source, "--from-infotext", first, "-o", again)
    assert read_parameters(again) == read_parameters(first)
    assert np.array_equal(Image.open(again), Image.open(first))
    assert from_infotext(first).notes == ()


@pytest.mark.parametrize("verb", ["inpaint", "outpaint", "upscale"])
def test_other_commands(ran: Callable[..., None], source: Path, infotext: Path, tmp_path: Path, verb: str) -> None:
    out, mask = tmp_path / "out.png", tmp_path / "mask.png"
    Image.new("L", (64, 64), 255).save(mask)
    more = {"inpaint": [mask], "outpaint": ["--left", 8], "upscale": ["--scale", 1.5, "--tile", 64]}[verb]
    ran(verb, source, *more, "--from-infotext", infotext, "-o", out)
    prompt, _, found = pairs(out)
    assert prompt == "fox, (ink:1.1)"
    assert [found[name] for name in ("Steps", "Sampler", "Seed")] == ["4", "Euler a", "12"]


def test_plan_batch_and_json(
    ran: Callable[..., None], source: Path, infotext: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran("plan", "--from-infotext", infotext)
    assert capsys.readouterr().out.startswith("euler_a, schedule karras: ")
    folder = tmp_path / "folder"
    folder.mkdir()
    source.rename(folder / "a.png")
    ran("batch", folder, "--from-infotext", infotext, "-o", tmp_path / "out", "--json")
    assert pairs(tmp_path / "out/a.png")[2]["Seed"] == "12"
    assert any("Hires upscale" in note for note in json.loads(capsys.readouterr().out)["notes"])


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (TEXT.replace("Euler a", "Eulr a"), "nearest first: Euler"),
        (TEXT.replace("Karras", "Karas"), "did you mean 'karras'"),
        (None, "no parameters of A1111"),
    ],
)
def test_what_cannot_be_followed_is_a_usage_error(
    ran: Callable[..., None],
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str | None,
    cause: str,
) -> None:
    path = tmp_path / "broken.png"
    write(path, Image.new("RGB", (8, 8)), text)
    with pytest.raises(SystemExit) as end:
        ran("img2img", source, "--from-infotext", path, "-o", tmp_path / "out.png")
    assert end.value.code == 2
    assert cause in capsys.readouterr().err
    if text:
        given = ("--sampler", "euler_a", "--schedule", "karras")
        ran("img2img", source, "--from-infotext", path, "-o", tmp_path / "out.png", *given)
