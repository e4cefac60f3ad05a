"""Which templates are sound."""

import json
from pathlib import Path

import pytest

from benchmarks.templates import body, outcome, templates
from overpaint.workflow.registry import standard
from tests.workflow.frontend.pages import Json, node, page

NODES = standard()


def template(checkpoint: str, *, last: str = "VAEDecode", **sampler: str) -> Json:
    names = {"sampler_name": "euler", "scheduler": "normal", **sampler}
    return page(
        [
            node(1, "CheckpointLoaderSimple", [checkpoint], outs="MODEL CLIP VAE"),
            node(2, "CLIPTextEncode", ["fox"], ins="clip:CLIP:1", outs="CONDITIONING"),
            node(3, "EmptyLatentImage", [64, 64, 1], outs="LATENT"),
            node(
                4, "KSampler", [1, "fixed", 4, 2, names["sampler_name"], names["scheduler"], 1],
                ins="model:MODEL:2 positive:CONDITIONING:3 negative:CONDITIONING:4 latent_image:LATENT:5",
                outs="LATENT",
            ),
            node(5, last, ins="samples:LATENT:6 vae:VAE:7", outs="IMAGE"),
            node(6, "SaveImage", ["x"], ins="images:IMAGE:8"),
        ],
        [
            (1, 1, 1, 2, 0), (2, 1, 0, 4, 0), (3, 2, 0, 4, 1), (4, 2, 0, 4, 2), (5, 3, 0, 4, 3), (6, 4, 0, 5, 0),
            (7, 1, 2, 5, 1), (8, 5, 0, 6, 0),
        ],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("document", "row"),
    [
        (template("v1-5-pruned.safetensors"), ("t", "SD 1.x, 2.x", "yes", "yes", "")),
        (template("sd_xl_base_1.0.safetensors", last="Odd"), ("t", "SDXL", "yes", "no", "`Odd`")),
        (template("flux1-dev.safetensors"), ("t", "others", "yes", "yes", "")),
        (page([], []), ("t", "others", "no", "no", "the workflow has no node that runs; add some on ComfyUI's page, "
         "and save it again")),
    ],
)  # fmt: skip
def test_a_template(document: Json, row: tuple[str, ...]) -> None:
    assert outcome("t", document, NODES).row == row


def test_a_wrong_value_is_named() -> None:
    made = outcome("t", template("v1-5.safetensors", scheduler="nobodys"), NODES)
    assert not made.runs
    assert made.problems[0].startswith("`KSampler`: scheduler: 'nobodys' not in")


def test_folders_are_read(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder / "templates").mkdir(parents=True)
        (tmp_path / folder / "templates/one.json").write_text(json.dumps(template(f"v1-5-{folder}.safetensors")))
        (tmp_path / folder / "templates/index.json").write_text("[]")
    found = dict(templates([tmp_path / "a", tmp_path / "b"]))
    assert list(found) == ["one"]
    text = body([outcome(name, document, NODES) for name, document in found.items()])
    assert "1 of 1 templates are read" in text
    assert "| one | SD 1.x, 2.x | yes | yes |  |" in text
