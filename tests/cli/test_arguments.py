"""The command line's options are those of the table."""

import argparse

import pytest

from overpaint.cli import _parser
from overpaint.cli.arguments import flags
from overpaint.runtime.requests.option import TOOLS
from overpaint.runtime.requests.options import of_tool
from overpaint.runtime.requests.table.calls import FILE

# What only Python has, or only some commands.
PYTHON = {"prompts", "window", "window_overlap", "origin", "inpaint_mask", "on_step"}
NOT_ASKED = {
    "img2img": set[str](),
    "inpaint": {"colour_match", "through_pixels", "drift_correction"},
    "outpaint": {"colour_match", "through_pixels", "drift_correction"},
    "upscale": {
        "passes", "pass_prompts", "through_pixels", "drift_correction", "variation_seed", "variation_strength",
        "seed_resize_from", "eta_noise_seed_delta",
    },
}  # fmt: skip


def actions(command: str) -> dict[str, argparse.Action]:
    (commands,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    return {action.dest: action for action in commands.choices[command]._actions}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_command_has_the_options_of_its_tool(tool: str) -> None:
    there = actions(tool)
    assert of_tool(tool).keys() - there.keys() == (PYTHON & of_tool(tool).keys()) | NOT_ASKED[tool]
    for name in of_tool(tool).keys() & there.keys() - {"prompt", "regions", "controls", "seed"}:
        option, action = of_tool(tool)[name], there[name]
        assert tuple(action.option_strings) == flags(option)
        assert option.help in str(action.help).replace("%%", "%")


def test_a_grid_has_a_list_for_every_axis() -> None:
    axes = {name for name, option in of_tool("img2img").items() if option.axis}
    assert {name for name, action in actions("grid").items() if action.metavar == "LIST"} == axes | {"replacing"}


@pytest.mark.parametrize("value", ["0", "101", "-1", "x"])
def test_what_a_file_is_written_with_is_checked_before_work_begins(
    value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(["img2img", "a.png", "fox", "-o", "b.png", "--quality", value])
    assert "not a whole number from 1 to 100" in capsys.readouterr().err


def test_rows_of_files_are_numbers_and_flags() -> None:
    assert {option.kind for option in FILE} == {"whole", "flag"}
