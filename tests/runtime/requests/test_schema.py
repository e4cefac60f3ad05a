"""The JSON schema and the page of the options table."""

import json
from pathlib import Path
from typing import Any

import pytest

import overpaint
from overpaint import InputError, options_schema
from overpaint.bundles.facts import Defaults
from overpaint.cli import main
from overpaint.runtime.requests.option import AFFECTS, TOOLS
from overpaint.runtime.requests.options import of_tool
from overpaint.runtime.requests.page import markdown

PAGE = Path(overpaint.__file__).parent / "docs/options.md"
# JSON's types of what Python has.
JSON: dict[str, type | tuple[type, ...]] = {
    "number": (int, float),
    "integer": int,
    "string": str,
    "boolean": bool,
    "array": list,
    "null": type(None),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_schema_has_what_can_be_said_in_json(tool: str) -> None:
    schema = json.loads(json.dumps(options_schema(tool), allow_nan=False))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["properties"].keys() == {name for name, row in of_tool(tool).items() if row.kind != "object"}
    for name, entry in schema["properties"].items():
        assert entry["description"].startswith(of_tool(tool)[name].help)
        assert entry["x-affects"] in AFFECTS
        for kind in types(entry):
            assert kind in JSON
        if "default" in entry:
            assert isinstance(entry["default"], tuple(flat(JSON[kind] for kind in types(entry))))


def types(entry: dict[str, Any]) -> list[str]:
    kinds = [kind for each in entry.get("anyOf", [entry]) for kind in flat([each["type"]])]
    return [str(kind) for kind in kinds]


def flat(nested: Any) -> list[Any]:
    return [item for each in nested for item in (each if isinstance(each, list | tuple) else [each])]


def test_a_schema_says_ranges_names_and_defaults() -> None:
    entries = options_schema("inpaint")["properties"]
    assert entries["strength"] == {
        "description": "0 keeps the picture, 1 ignores it (the model's own)",
        "x-affects": "plan",
        "type": ["number", "null"],
        "minimum": 0,
        "maximum": 1,
    }
    assert entries["levels"]["enum"] == ["hard", "soft", "strength"]
    assert entries["levels"]["default"] == "hard"
    assert entries["noise"]["enum"][-1] is None
    assert "euler_a" in entries["sampler"]["examples"]
    assert entries["size"]["items"] == {"type": "integer", "minimum": 1, "maximum": 16384}
    assert entries["timeout"] == {**entries["timeout"], "type": ["number", "null"], "minimum": 0}


def test_a_schema_has_the_defaults_of_a_model() -> None:
    entries = options_schema("img2img", Defaults(steps=4, guidance_scale=1.0, strength=0.5))["properties"]
    assert (entries["steps"]["default"], entries["strength"]["default"]) == (4, 0.5)


def test_another_tool_has_none() -> None:
    with pytest.raises(InputError, match="did you mean 'inpaint'") as raised:
        options_schema("inpant")
    assert raised.value.field == "tool"


def test_the_page_is_of_today() -> None:
    """Where this fails: python -m overpaint options --markdown > docs/options.md."""
    assert PAGE.read_text(encoding="utf-8") == markdown()


def test_the_command_prints_all_forms(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options", "--tool", "upscale"]) == 0
    assert "\nscale: number 1 to 16\n    how many times, 1 to 16 (2)." in capsys.readouterr().out
    assert main(["options", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == options_schema()
    assert main(["options", "--markdown"]) == 0
    assert capsys.readouterr().out == markdown()
