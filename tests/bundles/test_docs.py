"""docs/bundle-format.md names every field of a manifest."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import overpaint
from overpaint.bundles import controlnet, facts, format, graph, image_prompt, manifest, store, tensor, upscaler
from overpaint.runtime.model.signatures import ENCODER, ENCODER_OPTIONAL, SIGNATURES
from overpaint.runtime.sampling.flow import FlowSchedule
from overpaint.runtime.sampling.levels import ModelSchedule

PAGE = (Path(overpaint.__file__).parent / "docs/bundle-format.md").read_text(encoding="utf-8")
CLASSES = [
    manifest.Bundle,
    *(facts.ModelFacts, facts.EncoderFacts, facts.Tokenizer, facts.Defaults),
    *(graph.Graph, graph.File, graph.Range, graph.Receipt, graph.Check, graph.LowRankLayer, graph.StoredWeight),
    *(controlnet.ControlNetFacts, image_prompt.ImagePromptFacts),
    *(tensor.TensorSpec, upscaler.UpscalerFacts, store.Key, ModelSchedule, FlowSchedule),
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_the_page_names_every_field(kind: Any) -> None:
    assert [field.name for field in fields(kind) if f"`{field.name}`" not in PAGE] == []


def test_every_dataclass_of_a_manifest_is_looked_at() -> None:
    own = [kind for module in (facts, graph, manifest) for kind in vars(module).values() if isinstance(kind, type)]
    assert {kind for kind in own if hasattr(kind, "__dataclass_fields__")} <= set(CLASSES)


def test_the_page_has_the_roles_and_the_formats() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (`.*)$", PAGE, flags=re.M))
    assert rows.keys() == {
        *SIGNATURES,
        *(graph.TEXT_ENCODER, graph.DENOISER_SHALLOW, graph.UPSCALER, graph.CONTROLNET),
        *(graph.IMAGE_ENCODER, graph.IMAGE_PROJECTION),
    }
    for role, (inputs, outputs) in SIGNATURES.items():
        assert all(f"`{name}`" in rows[role] for name in inputs | outputs)
    assert all(f"`{name}`" in rows[graph.TEXT_ENCODER] for name in ENCODER | ENCODER_OPTIONAL)
    assert f"| `format` | {format.FORMAT};" in PAGE
    assert all(f'"{kind}"' in PAGE for kind in format.KINDS)
