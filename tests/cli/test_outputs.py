"""Where pictures go: files that exist, names by a pattern, standard input and output."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from overpaint import InputError
from overpaint.cli import main
from overpaint.cli.naming import FIELDS, Pattern, folder_and_pattern
from overpaint.runtime.imaging import opening
from overpaint.runtime.imaging.metadata import parse_parameters, read_parameters
from overpaint.runtime.model import load as loading
from tests.support.examples import noise_file


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return noise_file(tmp_path, 40, 40)


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    levels = np.zeros((40, 40), np.uint8)
    levels[:, 20:] = 255
    Image.fromarray(levels).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


@pytest.fixture
def engine(fake_folder: Path) -> tuple[object, ...]:
    return ("--engine", "fake", "--model", fake_folder, "--steps", 4)


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "open_engine", lambda *_, **__: pytest.fail("the model must not be loaded"))


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def commands(source: Path, mask: Path) -> dict[str, tuple[object, ...]]:
    """Every command that writes a picture."""
    return {
        "img2img": ("img2img", source, "a"),
        "inpaint": ("inpaint", source, mask, "a"),
        "outpaint": ("outpaint", source, "a", "--right", 8),
        "upscale": ("upscale", source),
        "grid": ("grid", source, "a", "--strength", "0.5,0.9"),
    }


COMMANDS = list(commands(Path(), Path()))


class TestFilesThatExist:
    @pytest.mark.parametrize("command", COMMANDS)
    @pytest.mark.usefixtures("no_model")
    def test_are_not_replaced(
        self, source: Path, mask: Path, fake_folder: Path, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        call, out = commands(source, mask)[command], source.with_name("out.png")
        out.write_bytes(b"old")
        assert run(*call, "-o", out, "--model", fake_folder) == 2
        assert "out.png: exists already; choose another name, or replace it with --overwrite" in capsys.readouterr().err
        assert run(*call, "-o", source, "--model", fake_folder) == 2
        assert "in.png: is the input's own file" in capsys.readouterr().err
        assert out.read_bytes() == b"old"

    @pytest.mark.parametrize("command", COMMANDS)
    def test_are_replaced_where_that_is_asked(
        self, source: Path, mask: Path, engine: tuple[object, ...], command: str
    ) -> None:
        call = commands(source, mask)[command]
        assert run(*call, "-o", source, "--overwrite", *engine) == 0
        assert read_parameters(source)

    @pytest.mark.usefixtures("no_model")
    def test_a_mask_counts_as_an_input_and_so_does_a_link(
        self, source: Path, mask: Path, fake_folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (source.with_name("link.png")).symlink_to(source)
        for out in (mask, source.with_name("link.png")):
            assert run("inpaint", source, mask, "a", "-o", out, "--model", fake_folder) == 2
            assert "is the input's own file" in capsys.readouterr().err

    @pytest.mark.usefixtures("no_model")
    def test_numbered_ones_and_broken_links_too(
        self, source: Path, fake_folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source.with_name("out-0002.png").symlink_to("nowhere")
        assert run("img2img", source, "a", "-o", source.with_name("out.png"), "--n", 2, "--model", fake_folder) == 2
        assert "out-0002.png: exists already" in capsys.readouterr().err

    def test_the_demo_keeps_them_too(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "contact-sheet.png").write_bytes(b"old")
        assert run("demo", "-o", tmp_path) == 2
        assert "contact-sheet.png: exists already" in capsys.readouterr().err

    def test_a_replay_keeps_them_too(
        self, source: Path, engine: tuple[object, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = source.with_name("out.png")
        assert run("img2img", source, "a", "-o", out, *engine) == 0
        assert run("replay", out, "-o", out) == 2
        assert "out.png: is the input's own file" in capsys.readouterr().err
        assert run("replay", out, "-o", out, "--overwrite") == 0
        assert run("replay", out, "-o", source.with_name("{name}-again.webp")) == 0
        assert source.with_name("out-again.webp").exists()


class TestPatterns:
    def test_fields_are_filled(self, source: Path, engine: tuple[object, ...]) -> None:
        out = source.with_name(
            "{name}-{index:02}-{seed}-{prompt}-{strength}-{steps}-{sampler}-{schedule}-{guidance}.png"
        )
        options = ("--seed", 7, "--sampler", "DPM++ 2M Karras", "--strength", 0.55, "--guidance", 3, *engine)
        assert run("img2img", source, source, "a/b: *c", "-o", out, *options) == 0
        made = {path.name for path in source.parent.glob("in-*")}
        assert made == {f"in-0{n}-{n + 6}-a b c-0.55-4-dpmpp_2m-karras-3.0.png" for n in (1, 2)}

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_takes_one(self, source: Path, mask: Path, engine: tuple[object, ...], command: str) -> None:
        call = commands(source, mask)[command]
        assert run(*call, "-o", source.with_name("{name}-{seed:04}.png"), "--seed", 5, *engine) == 0
        seed = parse_parameters(read_parameters(source.with_name("in-0005.png")) or "").seed
        assert seed in (5, None)

    def test_a_drawn_seed_is_in_the_name(self, source: Path, engine: tuple[object, ...]) -> None:
        assert run("img2img", source, "a", "-o", source.with_name("{seed}.png"), "--n", 3, *engine) == 0
        made = [path for path in source.parent.glob("*.png") if path != source]
        assert len(made) == 3
        assert all(parse_parameters(read_parameters(path) or "").seed == int(path.stem) for path in made)

    @pytest.mark.parametrize(
        ("name", "cause"),
        [
            ("{nme}.png", "unknown field of a file name 'nme'; did you mean 'name'"),
            ("{}.png", "unknown field of a file name ''"),
            ("{seed.real}.png", "unknown field"),
            ("{seed[0]}.png", "unknown field"),
            ("{seed!r}.png", "a field is {seed}"),
            ("{seed:{index}}.png", "a field is {seed}"),
            ("{seed:q}.png", "a field is {seed}"),
            ("{prompt:06d}.png", "a field is {seed}"),
            ("{seed.png", "write {{ and }} for braces"),
            ("seed}.png", "write {{ and }} for braces"),
            ("{seed}", "no suffix"),
            ("{name}.{seed}", "unknown output format"),
        ],
    )
    @pytest.mark.usefixtures("no_model")
    def test_ones_that_are_none(
        self, source: Path, fake_folder: Path, name: str, cause: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("img2img", source, "a", "-o", source.with_name(name), "--model", fake_folder) == 2
        assert cause in capsys.readouterr().err

    def test_pictures_that_would_have_one_name_do_not_run(
        self, source: Path, engine: tuple[object, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("img2img", source, "a", "-o", source.with_name("{name}-new.png"), "--n", 2, *engine) == 2
        assert "add {index} or {seed}" in capsys.readouterr().err
        source.with_name("in-5.png").write_bytes(b"old")
        assert run("img2img", source, "a", "-o", source.with_name("{name}-{seed}.png"), "--seed", 5, *engine) == 2
        assert "in-5.png: exists already" in capsys.readouterr().err

    def test_doubled_braces_are_braces(self, source: Path, engine: tuple[object, ...]) -> None:
        assert run("img2img", source, "a", "-o", source.with_name("{{a}}.png"), *engine) == 0
        assert source.with_name("{a}.png").exists()

    @settings(max_examples=50, deadline=None)
    @given(st.text())
    def test_any_prompt_is_one_part_of_a_path(self, prompt: str) -> None:
        path = Pattern("x-{prompt}.png").filled({**FIELDS, "prompt": prompt})
        assert path.parent == Path()
        assert len(os.fsencode(path)) < 120
        assert path.suffix == ".png"

    def test_a_name_that_is_no_unicode_is_kept(self) -> None:
        name = os.fsdecode(b"caf\xe9")
        assert os.fsencode(Pattern("{name}.png").filled({**FIELDS, "name": name})) == b"caf\xe9.png"


class TestBatches:
    def test_a_pattern_names_what_is_in_the_folder(self, source: Path, engine: tuple[object, ...]) -> None:
        pictures, out = source.parent / "pictures", source.parent / "out"
        (pictures / "deep").mkdir(parents=True)
        for place in ("a.png", "deep/b.png"):
            (pictures / place).write_bytes(source.read_bytes())
        (pictures / "a.txt").write_text("b")
        name = out / "{name}-{prompt}-{seed}-{index}.webp"
        call = ("batch", pictures, "a", "-o", name, "--recursive", "--n", 2, "--seed", 4, *engine)
        assert run(*call) == 0
        made = {path.relative_to(out).as_posix() for path in out.rglob("*.webp")}
        assert made == {"a-b-4-1.webp", "a-b-5-2.webp", "deep/b-a-4-1.webp", "deep/b-a-5-2.webp"}
        assert run(*call) == 0

    @pytest.mark.parametrize(
        ("output", "cause"),
        [("out/{nme}.png", "did you mean 'name'"), ("out/{name}", "no suffix"), ("-", "a batch writes into a folder")],
    )
    def test_outputs_that_are_none(self, output: str, cause: str) -> None:
        with pytest.raises(InputError, match=cause):
            folder_and_pattern(Path(output), None)
        with pytest.raises(InputError, match="leave out --format"):
            folder_and_pattern(Path("out/{name}.png"), ".webp")

    def test_images_of_one_picture_need_names_of_their_own(
        self, source: Path, engine: tuple[object, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        call = ("batch", source.parent, "a", "-o", source.parent / "out/{name}.png", "--n", 2, *engine)
        assert run(*call) == 2
        assert "add {index} or {seed}" in capsys.readouterr().err

    def test_files_that_it_did_not_write_stay(
        self, source: Path, engine: tuple[object, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        thumbs, originals = source.parent / "thumbs", source.parent / "originals"
        for folder in (thumbs, originals):
            folder.mkdir()
            for name in ("a.png", "b.png"):
                (folder / name).write_bytes(source.read_bytes())
        (originals / "b.png").unlink()
        before = (originals / "a.png").read_bytes()
        call = ("batch", thumbs, "a", "-o", originals, *engine)
        assert run(*call) == 3
        printed = capsys.readouterr()
        assert "a.png: exists, and this batch did not write it; replace it with --overwrite" in printed.err
        assert "2 pictures: 1 written, 0 already there, 1 skipped" in printed.out
        assert (originals / "a.png").read_bytes() == before
        assert (originals / "b.png").exists()
        assert run(*call, "--overwrite") == 0
        assert (originals / "a.png").read_bytes() != before


class Pipe:
    """Standard input or output in bytes and text."""

    def __init__(self, data: bytes = b"") -> None:
        self.buffer = io.BytesIO(data)

    def isatty(self) -> bool:
        return False


class TestStreams:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_a_picture_comes_and_goes_through_pipes(
        self,
        source: Path,
        mask: Path,
        engine: tuple[object, ...],
        command: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        piped: Any = Pipe()
        monkeypatch.setattr("sys.stdin", Pipe(source.read_bytes()))
        monkeypatch.setattr("sys.stdout", piped)
        code = run(*commands(Path("-"), mask)[command], "-o", "-", *engine)
        assert sys.stdout is piped
        monkeypatch.undo()
        assert code == 0
        assert Image.open(io.BytesIO(piped.buffer.getvalue())).format == "PNG"
        assert read_parameters(piped.buffer.getvalue())
        printed = capsys.readouterr()
        assert "seed" in printed.err
        assert not printed.out

    def test_a_real_pipe(self, source: Path, engine: tuple[object, ...]) -> None:
        words = [sys.executable, "-m", "overpaint", "img2img", "/dev/stdin", "a", "-o", "/dev/stdout"]
        with source.open("rb") as stream, subprocess.Popen(["cat"], stdin=stream, stdout=subprocess.PIPE) as cat:
            done = subprocess.run([*words, *map(str, engine)], stdin=cat.stdout, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert Image.open(io.BytesIO(done.stdout)).size == (40, 40)

    def test_a_pipe_without_an_end_is_left(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(opening, "MAX_BYTES", 100)
        reader, writer = os.pipe()
        os.write(writer, bytes(200))
        with pytest.raises(InputError, match="has more than 100 bytes"):
            opening.open_image(f"/dev/fd/{reader}")
        os.close(reader)
        os.close(writer)

    @pytest.mark.parametrize("redirect", [">&-", "> /dev/full", "| head -c 0"])
    def test_a_picture_that_goes_nowhere_is_a_failure(
        self, source: Path, engine: tuple[object, ...], redirect: str
    ) -> None:
        command = f'"$0" -m overpaint img2img "$@" -o - {redirect}'
        words = ["bash", "-o", "pipefail", "-c", command, sys.executable, str(source), "a", *map(str, engine)]
        done = subprocess.run(words, capture_output=True, timeout=60)
        assert done.returncode == 1
        assert b"standard output cannot be written" in done.stderr
        assert b"Traceback" not in done.stderr

    @pytest.mark.usefixtures("no_model")
    def test_what_cannot_be(
        self, source: Path, fake_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model = ("--model", fake_folder)
        assert run("img2img", source, "a", "-o", "-", "--n", 2, *model) == 2
        assert "holds one picture, not 2" in capsys.readouterr().err
        monkeypatch.setattr("sys.stdin", Pipe())
        assert run("img2img", "-", "a", "-o", source.with_name("out.png"), *model) == 2
        assert "-: the pipe is empty" in capsys.readouterr().err
        monkeypatch.setattr("sys.stdin", Pipe(source.read_bytes()))
        assert run("img2img", "-", "-", "a", "-o", source.with_name("out.png"), *model) == 2
        assert "was read before" in capsys.readouterr().err
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert run("img2img", source, "a", "-o", "-", *model) == 2
        assert "a terminal does not show pictures" in capsys.readouterr().err
