"""Subgraphs of ComfyUI's page, opened."""

from typing import Any

import pytest

from overpaint.errors import InputError
from overpaint.workflow.document import Connection
from overpaint.workflow.frontend.read import from_page
from overpaint.workflow.registry import standard
from tests.workflow.frontend.pages import Json, node, page, picture, shown, subgraph

NODES = standard()
BOX = "aaaaaaaa-0000-4000-8000-000000000001"
OUTER = "aaaaaaaa-0000-4000-8000-000000000002"


def steps(document: Json) -> dict[str, dict[str, Any]]:
    return {id: dict(step.inputs) for id, step in from_page(document, NODES).steps.items()}


def sized(**host: Any) -> Json:
    """A subgraph that makes a picture of a width, and is stood for by the node 5."""
    inside = [node(1, "EmptyImage", [8, 6, 1, 0], ins="width:INT:1w height:INT:w", outs="IMAGE")]
    box = subgraph(BOX, inside, [(1, -10, 0, 1, 0), (2, 1, 0, -20, 0)], ins="width", outs="IMAGE")
    return page([node(5, BOX, **{"outs": "IMAGE", **host}), shown(6, 1)], [(1, 5, 0, 6, 0)], [box])


def test_a_subgraph_is_opened() -> None:
    inside = [
        node(1, "ImageInvert", ins="image:IMAGE:1", outs="IMAGE"),
        node(2, "ImageInvert", ins="image:IMAGE:2", outs="IMAGE"),
    ]
    box = subgraph(BOX, inside, [(1, -10, 0, 1, 0), (2, 1, 0, 2, 0), (3, 2, 0, -20, 0)], ins="picture", outs="IMAGE")
    document = page(
        [picture(1), node(5, BOX, ins="picture:IMAGE:1", outs="IMAGE"), shown(6, 2)],
        [(1, 1, 0, 5, 0), (2, 5, 0, 6, 0)],
        [box],
    )
    made = steps(document)
    assert list(made) == ["1", "5:1", "5:2", "6"]
    assert made["5:1"] == {"image": Connection("1", 0)}
    assert made["5:2"] == {"image": Connection("5:1", 0)}
    assert made["6"] == {"images": Connection("5:2", 0)}


def test_subgraphs_lie_in_subgraphs() -> None:
    outer = subgraph(
        OUTER,
        [node(3, BOX, ins="width:INT:1w", outs="IMAGE")],
        [(1, -10, 0, 3, 0), (2, 3, 0, -20, 0)],
        ins="wide",
        outs="IMAGE",
    )
    document = sized()
    document["definitions"]["subgraphs"].append(outer)
    document["nodes"] = [node(5, OUTER, [12], outs="IMAGE"), node(7, OUTER, outs="IMAGE"), shown(6, 1)]
    made = steps(document)
    assert list(made) == ["5:3:1", "7:3:1", "6"]
    assert made["5:3:1"]["width"] == 12
    assert made["7:3:1"]["width"] == 8, "another node of the same subgraph"
    assert made["6"] == {"images": Connection("5:3:1", 0)}


@pytest.mark.parametrize(
    ("host", "width", "height"),
    [
        ({}, 8, 6),
        ({"values": [20]}, 20, 6),
        ({"values": {"width": 21}}, 21, 6),
        ({"widgets_values_named": {"width": 22}}, 22, 6),
        ({"values": [23], "properties": {"proxyWidgets": [["-1", "width"]]}}, 23, 6),
        ({"values": [24, 9], "properties": {"proxyWidgets": [["1", "width"], ["1", "height"]]}}, 24, 9),
        ({"properties": {"proxyWidgets": [["1", "width"]]}}, 8, 6),
    ],
)
def test_the_node_of_a_subgraph_has_values_of_its_own(host: Json, width: int, height: int) -> None:
    made = steps(sized(**host))["5:1"]
    assert (made["width"], made["height"]) == (width, height)


def test_a_link_counts_more_than_a_value() -> None:
    document = sized(ins="width:INT:2w", values=[99])
    document["nodes"].append(node(8, "PrimitiveInt", [7, "fixed"], outs="INT"))
    document["links"].append([2, 8, 0, 5, 0, "INT"])
    assert steps(document)["5:1"]["width"] == Connection("8", 0)
    document["nodes"][-1] = node(8, "PrimitiveNode", [7, "fixed"], outs="INT")
    assert steps(document)["5:1"]["width"] == 7


def test_an_input_has_the_value_of_its_first_widget_for_all_that_hang_on_it() -> None:
    inside = [
        node(1, "EmptyImage", [40, 6, 1, 0], ins="width:INT:1w height:INT:w", outs="IMAGE"),
        node(2, "ComfyMathExpression", ["a * 2"], ins="values.a:FLOAT,INT:2", outs="FLOAT INT"),
        node(3, "CLIPTextEncode", ['{"a": 1}'], ins="clip:CLIP text:STRING:4w", outs="CONDITIONING"),
    ]
    links = [(1, -10, 0, 1, 0), (2, -10, 0, 2, 0), (3, 1, 0, -20, 0), (4, -10, 1, 3, 1)]
    box = subgraph(BOX, inside, links, ins="length prompt", outs="IMAGE")
    made = steps(page([node(5, BOX, outs="IMAGE"), shown(6, 1)], [(1, 5, 0, 6, 0)], [box]))
    assert (made["5:1"]["width"], made["5:2"]["values.a"]) == (40, 40)
    assert made["5:3"]["text"] == '{"a": 1}', "as the page has it: none is chosen"


def test_a_proxy_may_be_a_primitive_node() -> None:
    inside = [
        node(1, "PrimitiveNode", [3, "fixed"], outs="INT"),
        node(2, "EmptyImage", [8, 6, 1, 0], ins="width:INT:1w height:INT:2w", outs="IMAGE"),
    ]
    box = subgraph(BOX, inside, [(1, 1, 0, 2, 0), (2, 1, 0, 2, 1), (3, 2, 0, -20, 0)], outs="IMAGE")
    host = node(5, BOX, [30], outs="IMAGE", properties={"proxyWidgets": [["1", "value"]]})
    made = steps(page([host, node(7, BOX, outs="IMAGE"), shown(6, 1)], [(1, 5, 0, 6, 0)], [box]))
    assert (made["5:2"]["width"], made["5:2"]["height"]) == (30, 30)
    assert made["7:2"]["width"] == 3


def test_a_subgraph_may_be_muted_and_bypassed() -> None:
    box = subgraph(
        BOX, [node(1, "ImageInvert", ins="image:IMAGE:1", outs="IMAGE")], [(1, -10, 0, 1, 0), (2, 1, 0, -20, 0)],
        ins="picture", outs="IMAGE",
    )  # fmt: skip
    host = node(5, BOX, ins="picture:IMAGE:1", outs="IMAGE", mode=4)
    document = page([picture(1), host, shown(6, 2), shown(7, 1)], [(1, 1, 0, 5, 0), (2, 5, 0, 6, 0)], [box])
    document["nodes"][3]["inputs"][0]["link"] = 1
    assert steps(document)["6"] == {"images": Connection("1", 0)}
    document["nodes"][1]["mode"] = 2
    assert list(steps(document)) == ["1", "7"]


def test_an_output_may_hang_on_an_input_or_on_nothing() -> None:
    box = subgraph(BOX, [], [(1, -10, 0, -20, 0)], ins="picture", outs="IMAGE other")
    host = node(5, BOX, ins="picture:IMAGE:1", outs="IMAGE IMAGE")
    links = [(1, 1, 0, 5, 0), (2, 5, 0, 6, 0), (3, 5, 1, 7, 0)]
    made = steps(page([picture(1), host, shown(6, 2), shown(7, 3)], links, [box]))
    assert made == {**made, "6": {"images": Connection("1", 0)}, "7": {}}


def test_a_subgraph_that_holds_itself_is_refused() -> None:
    box = subgraph(BOX, [node(1, BOX, outs="IMAGE")], [(1, 1, 0, -20, 0)], outs="IMAGE")
    with pytest.raises(InputError, match=r"node 1 .*: the subgraph 'the subgraph .*' holds itself"):
        steps(page([node(5, BOX, outs="IMAGE"), shown(6, 1)], [(1, 5, 0, 6, 0)], [box]))


def test_an_entrance_that_is_not_there_is_refused() -> None:
    document = sized()
    document["definitions"]["subgraphs"][0]["inputs"] = []
    with pytest.raises(InputError, match=r"node 1 \(EmptyImage\): it hangs on input 0 of a subgraph"):
        steps(document)
