"""What ComfyUI's page saves, as the API format: without subgraphs."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from overpaint.errors import InputError
from overpaint.workflow.bench import Workbench
from overpaint.workflow.document import Connection, Workflow
from overpaint.workflow.frontend.graph import is_page_format
from overpaint.workflow.frontend.read import from_page
from overpaint.workflow.registry import standard
from overpaint.workflow.run import run_workflow
from tests.workflow.frontend.pages import Json, node, page, picture, shown

NODES = standard()


def read(document: Json) -> Workflow:
    return from_page(document, NODES)


def inputs(workflow: Workflow, id: str) -> dict[str, Any]:
    return dict(workflow.steps[id].inputs)


def test_the_format_is_known_by_its_structure() -> None:
    assert is_page_format(page([], []))
    assert is_page_format({"nodes": [], "links": {}})
    assert not is_page_format({"nodes": {"class_type": "EmptyImage", "inputs": {}}, "links": []})
    assert not is_page_format([])


def test_values_follow_the_order_of_declaration() -> None:
    sampler = node(
        3, "KSampler", [42, "randomize", 7, 2.5, "euler", "karras", 0.5],
        ins="model:MODEL positive:CONDITIONING negative:CONDITIONING latent_image:LATENT seed:INT:w", outs="LATENT",
    )  # fmt: skip
    picked = node(4, "LoadImage", ["a.png", "image"], outs="IMAGE MASK", title="Mine")
    made = read(page([sampler, picked], []))
    assert inputs(made, "3") == {
        "seed": 42, "steps": 7, "cfg": 2.5, "sampler_name": "euler", "scheduler": "karras", "denoise": 0.5,
    }  # fmt: skip
    assert inputs(made, "4") == {"image": "a.png"}
    assert made.steps["4"].title == "Mine"
    assert made.steps["3"].title == "KSampler"


def test_values_may_be_an_object_few_or_named() -> None:
    by_name = node(1, "EmptyImage", {"width": 9, "height": 5, "batch_size": 2, "color": 3, "preview": None})
    few = node(2, "EmptyImage", [11])
    named = node(3, "EmptyImage", widgets_values_named={"height": 6})
    seedless = node(4, "RandomNoise", [5])
    made = read(page([by_name, few, named, seedless], []))
    assert inputs(made, "1") == {"width": 9, "height": 5, "batch_size": 2, "color": 3}
    assert inputs(made, "2") == {"width": 11, "height": 512, "batch_size": 1, "color": 0}
    assert inputs(made, "3") == {"width": 512, "height": 6, "batch_size": 1, "color": 0}
    assert inputs(made, "4") == {"noise_seed": 5}


def test_a_list_that_is_a_value_is_no_link() -> None:
    made = read(page([node(1, "EmptyImage", {"width": ["7", 0]})], []))
    assert inputs(made, "1")["width"] == ["7", 0]
    assert made.source["1"]["inputs"]["width"] == {"__value__": ["7", 0]}


def test_a_widget_may_be_a_socket_and_a_primitive_node_writes_it() -> None:
    document = page(
        [
            node(1, "PrimitiveNode", [33, "fixed"], outs="INT"),
            node(2, "PrimitiveInt", [44, "fixed"], outs="INT"),
            node(3, "EmptyImage", [1, 2, 3, 4], ins="width:INT:1w height:INT:2w", outs="IMAGE"),
        ],
        [(1, 1, 0, 3, 0), (2, 2, 0, 3, 1)],
    )
    made = read(document)
    assert inputs(made, "3") == {"width": 33, "height": Connection("2", 0), "batch_size": 3, "color": 4}
    assert list(made.steps) == ["2", "3"]


def test_notes_and_drawings_are_left_out_and_reroutes_led_through() -> None:
    document = page(
        [
            node(1, "Note", ["read me"]),
            node(2, "MarkdownNote", ["# read me"]),
            node(3, "A label that somebody's page draws", ["read me"]),
            picture(4),
            node(5, "Reroute", ins=":*:1", outs="IMAGE"),
            node(6, "Reroute", ins=":*:2", outs="IMAGE"),
            shown(7, 3),
        ],
        [(1, 4, 0, 5, 0), (2, 5, 0, 6, 0), (3, 6, 0, 7, 0)],
    )
    document["extra"] = {"reroutes": [{"id": 1, "pos": [0, 0], "linkIds": [3]}]}
    made = read(document)
    assert list(made.steps) == ["4", "7"]
    assert inputs(made, "7") == {"images": Connection("4", 0)}
    assert made.editor == document


def test_what_needs_a_muted_node_is_left_out_with_it() -> None:
    document = page(
        [
            picture(1, mode=2),
            node(2, "ImageInvert", ins="image:IMAGE:1", outs="IMAGE"),
            shown(3, 2),
            picture(4),
            shown(5, 3),
            node(6, "ImageCompositeMasked", [0, 0, False], ins="destination:IMAGE:4 source:IMAGE:5 mask:MASK:6"),
            node(7, "SolidMask", [1.0, 8, 8], outs="MASK", mode=2),
        ],
        [(1, 1, 0, 2, 0), (2, 2, 0, 3, 0), (3, 4, 0, 5, 0), (4, 4, 0, 6, 0), (5, 4, 0, 6, 1), (6, 7, 0, 6, 2)],
    )
    made = read(document)
    assert list(made.steps) == ["4", "5", "6"]
    assert "mask" not in inputs(made, "6"), "an input that need not be there"
    for each in document["nodes"][3:]:
        each["mode"] = 2
    with pytest.raises(InputError, match=r"muted: 1 \(EmptyImage\), 4 \(EmptyImage\)"):
        read(document)


def test_a_bypassed_node_hands_on_what_fits() -> None:
    lora = node(2, "LoraLoader", ["a", 1, 1], ins="model:MODEL:1 clip:CLIP:2", outs="MODEL CLIP", mode=4)
    second = node(3, "CLIPTextEncode", ["fox"], ins="clip:CLIP:3", outs="CONDITIONING")
    merged = node(
        5, "ImageCompositeMasked", [0, 0, False], ins="mask:MASK destination:IMAGE:4 source:IMAGE", outs="IMAGE",
        mode=4,
    )  # fmt: skip
    document = page(
        [
            node(1, "CheckpointLoaderSimple", ["tiny"], outs="MODEL CLIP VAE"),
            lora, second, picture(4), merged, shown(6, 5),
            node(7, "MaskToImage", ins="mask:MASK:6", outs="IMAGE", mode=4), shown(8, 7),
            node(9, "SolidMask", [1.0, 8, 8], outs="MASK"),
        ],
        [
            (1, 1, 0, 2, 0), (2, 1, 1, 2, 1), (3, 2, 1, 3, 0), (4, 4, 0, 5, 1), (5, 5, 0, 6, 0), (6, 9, 0, 7, 0),
            (7, 7, 0, 8, 0),
        ],
    )  # fmt: skip
    made = read(document)
    assert inputs(made, "3")["clip"] == Connection("1", 1), "the same slot"
    assert inputs(made, "6")["images"] == Connection("4", 0), "the first of its type"
    assert inputs(made, "8") == {}, "none fits; validation says what is missing"


def test_unknown_nodes_stay_for_validation() -> None:
    made = read(page([node(1, "Somebodys", outs="IMAGE"), shown(2, 1)], [(1, 1, 0, 2, 0)]))
    assert made.steps["1"].kind == "Somebodys"


def test_the_date_and_other_nodes_values_go_into_file_names() -> None:
    saved = node(
        2, "SaveImage", ["%date:yyyy%/%Big.width%x%EmptyImage.height%-%width%"], ins="images:IMAGE:1"
    )  # fmt: skip
    made = read(page([picture(1, title="Big"), saved], [(1, 1, 0, 2, 0)]))
    prefix = inputs(made, "2")["filename_prefix"]
    assert prefix[:3] == "202"
    assert prefix[4:] == "/8x8-%width%"


def test_prompts_lose_comments_and_choose() -> None:
    made = read(page([node(1, "CLIPTextEncode", ["a {{red|blue} fox|fox} // or not\n/* no */at \\{y\\|\\}"])], []))
    assert inputs(made, "1")["text"] in {f"a {fox} \nat {{y|}}" for fox in ("red fox", "blue fox", "fox")}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (page([shown(2, 9, title="Mine")], []), r"node 2 \(Mine\): its input 'images' has the link 9,"),
        (page([shown(2, 1)], [(1, 7, 0, 2, 0)]), r"node 2 \(PreviewImage\): a link comes from the node 7"),
        (page([node(1, "workflow/mine"), shown(2, 1)], [(1, 1, 0, 2, 0)]), r"node 1 \(workflow/mine\): it is a group"),
        (
            page([node(1, "0b3d5c9e-1111-4222-8333-444455556666", outs="IMAGE"), shown(2, 1)], [(1, 1, 0, 2, 0)]),
            "lacks its subgraph",
        ),
        (
            page(
                [node(1, "Reroute", ins=":*:1", outs="*"), node(2, "Reroute", ins=":*:2", outs="*"), shown(3, 3)],
                [(1, 2, 0, 1, 0), (2, 1, 0, 2, 0), (3, 2, 0, 3, 0)],
            ),
            r"node 2 \(Reroute\): its links lead in a circle",
        ),
        ({"nodes": [{"id": 1}], "links": []}, "damaged .KeyError: 'type'"),
        ({"nodes": [], "links": [[1]]}, "damaged"),
        (page([], []), "no node that runs"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_of_its_node(document: Json, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(document)


def test_a_file_runs(tmp_path: Path) -> None:
    document = page([picture(1), node(2, "SaveImage", ["x"], ins="images:IMAGE:1")], [(1, 1, 0, 2, 0)])
    (tmp_path / "w.json").write_text(json.dumps(document))
    chunks = PngInfo()
    chunks.add_text("workflow", json.dumps(document))
    Image.new("RGB", (1, 1)).save(tmp_path / "w.png", pnginfo=chunks)
    bench = Workbench({}, folder=tmp_path)
    for name in ("w.json", "w.png"):
        result = run_workflow(tmp_path / name, bench, values={"1.width": 16})
        assert result.images[0].size == (16, 8)
        assert result.images[0].getpixel((0, 0)) == (0x33, 0x66, 0x99)
        assert json.loads(result.images[0].info["workflow"]) == document
