"""Workflows laid out for the page say what they said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from overpaint.errors import InputError
from overpaint.workflow.bench import Workbench
from overpaint.workflow.document import parse
from overpaint.workflow.frontend.read import from_page
from overpaint.workflow.layout import page_format
from overpaint.workflow.registry import standard

WORKFLOWS = sorted((Path(__file__).resolve().parents[2] / "models/examples/workflows").glob("*.json"))
EXTRA = {"control_after_generate": "fixed", "image_upload": "image"}


def read(page: dict[str, Any]) -> dict[str, Any]:
    """The API format of a page's document, by the page's rules."""
    links = {number: [str(source), slot] for number, source, slot, *_ in page["links"]}
    nodes, made = standard(), {}
    for record in page["nodes"]:
        node, values, inputs = nodes.get(record["type"]), list(record["widgets_values"]), {}
        assert node is not None
        for entry in record["inputs"]:
            value = None
            if "widget" in entry:
                value = values.pop(0)
                for option, extra in EXTRA.items():
                    if node.inputs[entry["name"]].options.get(option):
                        assert values.pop(0) == extra
            inputs[entry["name"]] = links[entry["link"]] if entry["link"] else value
        assert values == []
        made[str(record["id"])] = {"class_type": record["type"], "inputs": inputs}
    return made


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_is_laid_out_says_the_same(path: Path, tmp_path: Path) -> None:
    document = json.loads(path.read_text())
    page = page_format(parse(document), standard(), Workbench({"tiny": "tiny"}, folder=tmp_path))
    ids = dict(zip(document, map(str, range(1, len(document) + 1)), strict=True))
    again = read(page)
    for id, node in document.items():
        found = again[ids[id]]
        assert found["class_type"] == node["class_type"]
        for name, value in node["inputs"].items():
            is_link = isinstance(value, list) and len(value) == 2 and value[0] in ids
            assert found["inputs"][name] == ([ids[value[0]], value[1]] if is_link else value), name
    opened = {id: step["inputs"] for id, step in from_page(page, standard()).source.items()}
    given = {id: {name: v for name, v in step["inputs"].items() if v is not None} for id, step in again.items()}
    assert opened == given, "the reader of such files agrees"
    places = {record["id"]: record["pos"] for record in page["nodes"]}
    assert len(set(map(tuple, places.values()))) == len(places)
    assert all(places[source][0] < places[target][0] for _, source, _, target, *_ in page["links"])


def test_a_node_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Odd"):
        page_format(parse({"1": {"class_type": "Odd"}}), standard(), Workbench({}, folder=tmp_path))
