"""How the command line reads words and options: prompts, aliases, typos, lists of names, completion."""

import argparse
from pathlib import Path

import pytest

from overpaint.cli import _parser, main
from overpaint.cli.parser import CommandParser
from overpaint.runtime.model import load as loading
from overpaint.runtime.model.shipped import MODELS
from overpaint.runtime.requests.presets import PRESETS
from overpaint.runtime.sampling.names import SCHEDULES
from overpaint.runtime.sampling.samplers import SAMPLERS
from overpaint.runtime.sampling.strength import CONVENTIONS

FOX, MASK = str(MODELS / "examples/fox.png"), str(MODELS / "examples/masks/fox-right.png")
OUT = ("-o", "out.png")
WORDS = {
    "img2img": (FOX,),
    "inpaint": (FOX, MASK),
    "outpaint": (FOX,),
    "upscale": (FOX,),
    "batch": ("in",),
    "grid": (FOX,),
}


def parse(*arguments: str) -> argparse.Namespace:
    return _parser().parse_args(arguments)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is printed about arguments that cannot be used: at most three lines."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) <= 3
    return printed.err


class TestPrompts:
    @pytest.mark.parametrize("command", WORDS)
    def test_it_is_the_last_word_or_an_option(self, command: str) -> None:
        words = WORDS[command]
        assert parse(command, *words, "a fox", *OUT).prompt == "a fox"
        assert parse(command, *OUT, *words, "a fox").prompt == "a fox"
        assert parse(command, *words, *OUT, "a fox").prompt == "a fox"
        assert parse(command, *words, *OUT, "--prompt", "a fox").prompt == "a fox"
        assert parse(command, *words, "", *OUT).prompt == ""

    @pytest.mark.parametrize("command", WORDS)
    def test_it_may_begin_with_a_dash(self, command: str) -> None:
        words = WORDS[command]
        assert parse(command, *words, *OUT, "--", "-text").prompt == "-text"
        assert parse(command, *words, "-o gouache, a fox", *OUT).prompt == "-o gouache, a fox"
        assert parse(command, *words, *OUT, "--prompt", "-text").prompt == "-text"
        assert parse(command, *words, *OUT, "--prompt=--text").prompt == "--text"

    @pytest.mark.parametrize("command", WORDS)
    def test_where_a_dash_is_taken_for_an_option_the_error_says_how(
        self, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        printed = refused(capsys, command, *WORDS[command], "-text", *OUT)
        assert "unknown option -text" in printed
        assert "goes after --, or as --prompt=-text" in printed

    @pytest.mark.parametrize("name", ["b.png", "photos/b.JPG", "b.jxl", FOX])
    @pytest.mark.parametrize("command", WORDS)
    def test_a_files_name_is_no_prompt_but_where_it_is_meant(
        self, command: str, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert "give it as --prompt" in refused(capsys, command, *WORDS[command], name, *OUT)
        assert parse(command, *WORDS[command], *OUT, "--prompt", name).prompt == name

    def test_pictures_without_a_prompt(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "'b.png' is a file's name" in refused(capsys, "img2img", "a.png", "b.png", *OUT)
        parsed = parse("img2img", "a.png", "b.png", "a fox, b.png in the back", *OUT)
        assert (parsed.images, parsed.prompt) == (["a.png", "b.png"], "a fox, b.png in the back")
        assert parse("img2img", "a.png", "b.png", "--prompt", "a fox", *OUT).images == ["a.png", "b.png"]

    @pytest.mark.parametrize("command", sorted(WORDS.keys() - {"upscale"}))
    def test_one_that_is_missing(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert "the prompt is missing" in refused(capsys, command, *WORDS[command], *OUT)

    def test_a_missing_mask_is_no_missing_prompt(self, capsys: pytest.CaptureFixture[str]) -> None:
        printed = refused(capsys, "inpaint", FOX, "fox, ink style", *OUT)
        assert "the mask is missing: 'fox, ink style' is no file, and the last word is the prompt" in printed
        assert "overpaint inpaint IN MASK PROMPT -o OUT" in printed
        assert "the prompt is missing" in refused(capsys, "inpaint", FOX, "-", *OUT)
        assert "the prompt is missing" in refused(capsys, "inpaint", FOX, "mask-not-there.png", *OUT)

    def test_an_upscale_needs_none(self) -> None:
        assert parse("upscale", FOX, *OUT).prompt == ""

    def test_one_that_is_given_twice(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "given twice" in refused(capsys, "outpaint", FOX, "a", "--prompt", "b", *OUT)


class TestOptions:
    @pytest.mark.parametrize("command", WORDS)
    def test_the_names_of_other_programs(self, command: str) -> None:
        parsed = parse(command, *WORDS[command], "a fox", *OUT, "--guidance-scale", "3", "--negative-prompt", "-blurry")
        assert float(parsed.guidance_scale) == 3
        assert parsed.negative_prompt == "-blurry"

    @pytest.mark.parametrize(
        ("other", "here"),
        [("--cfg-scale", "--guidance-scale"), ("--num_inference_steps", "--steps"), ("--scheduler", "--sampler")],
    )
    def test_an_option_of_another_program_names_ours(
        self, other: str, here: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert f"did you mean {here}?" in refused(capsys, "img2img", *WORDS["img2img"], "a fox", *OUT, other, "1")

    @pytest.mark.parametrize("command", WORDS)
    @pytest.mark.parametrize(("typo", "meant"), [("--guidence", "--guidance"), ("--modle", "--model")])
    def test_a_typo_names_the_nearest(
        self, command: str, typo: str, meant: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert f"did you mean {meant}?" in refused(capsys, command, *WORDS[command], "a fox", *OUT, typo, "1")

    def test_no_abbreviation_is_guessed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "did you mean --strength?" in refused(capsys, "img2img", FOX, "a fox", *OUT, "--strengt", "1")

    @pytest.mark.parametrize("command", sorted(WORDS.keys() - {"grid"}))
    def test_seed_minus_one_draws_one(self, command: str) -> None:
        assert parse(command, *WORDS[command], "a fox", *OUT, "--seed", "-1").seed >= 0

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["paint"],
            ["img2img"],
            ["presets", "all"],
            ["inpaint", FOX, *OUT],
            ["img2img", FOX, "a fox"],
            ["img2img", FOX, "a fox", *OUT, "--size", "big"],
            ["img2img", FOX, "a fox", *OUT, "--quality", "0"],
            ["img2img", FOX, "a fox", *OUT, "--timeout", "0"],
            ["img2img", FOX, "a fox", *OUT, "--preset", "styl"],
            ["build", "tiny", "--engine", "none"],
        ],
    )
    def test_usage_errors_are_three_lines(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert "--help" in refused(capsys, *arguments)

    @pytest.mark.usefixtures("capsys")
    def test_words_and_options_mix_with_options_of_several_values(self) -> None:
        parsed = parse("build", "--graph", "unet", "vae_decoder", "--engine", "tensorrt_rtx", "tiny")
        assert (parsed.graphs, parsed.bundle) == (["unet", "vae_decoder"], "tiny")
        region = ("--region", "m.png", "a cat")
        assert parse("img2img", *region, FOX, *region, "a fox", *OUT).regions == [["m.png", "a cat"]] * 2


class TestHelp:
    def help(self, command: str, capsys: pytest.CaptureFixture[str]) -> str:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        return capsys.readouterr().out

    @pytest.mark.parametrize("command", [*WORDS, "plan", "bench"])
    def test_names_are_those_of_their_tables(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        tables = self.help(command, capsys).split("\nsamplers:\n")[1]
        for title, names in (("", SAMPLERS), ("schedules:\n", SCHEDULES), ("conventions:\n", CONVENTIONS)):
            block = tables.partition(title)[2] if title else tables
            assert [name.strip() for name in block.partition("\n\n")[0].split(",")] == list(names)

    @pytest.mark.parametrize("command", WORDS)
    def test_presets_are_those_of_the_command(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        own = [name for name, preset in PRESETS.items() if command in preset.commands]
        assert f"\npresets:\n  {', '.join(own)}\n" in self.help(command, capsys)

    @pytest.mark.parametrize(
        ("command", "usage"),
        [
            ("img2img", "usage: overpaint img2img IN... PROMPT -o OUT [options]"),
            ("inpaint", "usage: overpaint inpaint IN MASK PROMPT -o OUT [options]"),
            ("upscale", "usage: overpaint upscale IN [PROMPT] -o OUT [options]"),
        ],
    )
    def test_the_usage_is_a_line(self, command: str, usage: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.help(command, capsys).splitlines()[0] == usage


class TestCompletion:
    @pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
    def test_a_script_completes_commands_and_options(self, shell: str, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("shtab", reason="overpaint[completion] is not installed")
        assert main(["completion", shell]) == 0
        printed = capsys.readouterr().out
        assert "img2img" in printed
        assert "guidance-scale" in printed
        assert all(name in printed for name in (*SAMPLERS, *SCHEDULES, *CONVENTIONS, *PRESETS))

    def test_pictures_and_masks_complete_as_files(self, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("shtab", reason="overpaint[completion] is not installed")
        assert main(["completion", "bash"]) == 0
        printed = capsys.readouterr().out
        for argument in ("img2img_pos_0", "inpaint_pos_0", "inpaint_pos_1", "img2img__o", "img2img___preview"):
            assert f"_shtab_overpaint_{argument}_COMPGEN=_shtab_compgen_files" in printed

    def test_without_the_library_the_error_says_what_to_install(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(__import__("sys").modules, "shtab", None)
        assert main(["completion", "bash"]) == 1
        assert "overpaint[completion]" in capsys.readouterr().err


def test_every_command_has_a_parser_that_knows_its_words() -> None:
    actions = [action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert all(isinstance(parser, CommandParser) for parser in actions[0].choices.values())


def test_no_model_is_loaded_for_a_file_in_the_prompts_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(loading, "open_engine", lambda *_: pytest.fail("the model must not be loaded"))
    assert "file's name" in refused(capsys, "img2img", FOX, FOX, "-o", str(tmp_path / "out.png"))
